"""What `ps` shows of a learn process that waited."""

import subprocess
import sys

from benchmarks.chaos.system import command
from tests.waiting import wait_until
from worker.title import ROOM, WAIT, Title

SHOW = """
import sys
from worker.title import Title
title = Title()
for line in sys.stdin:
    title.show(*line.split())
    print("shown", flush=True)
"""


def test_a_process_shows_what_it_learns_and_then_that_it_waits():
    waiting = [sys.executable, "-c", SHOW, WAIT, ROOM]
    with subprocess.Popen(waiting, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:

        def show(words):
            process.stdin.write(f"{words}\n".encode())
            process.stdin.flush()
            assert process.stdout.readline() == b"shown\n"
            return command(process.pid)

        # Before it has begun there is nothing to see.
        wait_until(lambda: command(process.pid) == waiting)
        shown = show("tsk_06h2d7nf6y0dm6mpvspbj1cpyt 123456")
        assert shown[:5] == [*waiting[:3], "tsk_06h2d7nf6y0dm6mpvspbj1cpyt", "123456"]
        assert not any(shown[5:])
        assert show("") == waiting
        # What does not fit is left out, rather than written over what comes behind.
        assert show("x" * 100) == waiting
        process.stdin.close()


def test_a_process_that_was_not_started_to_wait_stays_as_it_is():
    before = command("self")
    Title().show("tsk_1", 2)
    assert command("self") == before
