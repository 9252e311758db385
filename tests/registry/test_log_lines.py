"""The log on outputs that are full, closed, hung up or read by nobody: nobody waits or fails."""

import json
import os
import subprocess
import sys

import pytest

from tests.waiting import within

BEGIN = """
import logging, os, resource, sys, threading, time, warnings
import structlog
from registry.log_lines import LOG_LINES
from registry.logs import configure_logging
configure_logging()
log = structlog.get_logger()
"""
SAYS_ALL = """
class Spiteful:
    def __repr__(self):
        raise RuntimeError("no")
for i in range(300):
    log.warning("said", i=i, filler="x" * 200)
log.warning("spiteful", value=Spiteful())
logging.getLogger("uvicorn.error").error("%s", "library")
warnings.warn("warned", stacklevel=1)
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
print("alive", flush=True)
1 / 0
"""


def run(redirect, program=SAYS_ALL):
    return subprocess.run(
        ["bash", "-c", f'"$@" {redirect}', "-", sys.executable, "-c", BEGIN + program],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("redirect", ["2> /dev/full", "2>&-", "2> >(exit 0)"])
def test_nobody_who_logs_fails(redirect):
    done = run(redirect)
    # What ends the process is its own fault, and its code is that of any error.
    assert (done.returncode, done.stdout) == (1, "alive\n")


def test_all_that_is_said_is_a_line():
    lines = [json.loads(line) for line in run("").stderr.splitlines()]
    events = [line["event"] for line in lines]
    assert events[:300] == ["said"] * 300
    assert events[300:302] == ["spiteful", "library"]
    assert "warned" in events[302]
    assert events[303:] == ["thread_ended", "process_ended"]
    assert lines[-1]["exception"][0]["exc_type"] == "ZeroDivisionError"


def test_nobody_waits_for_a_pipe_that_is_not_read():
    reading, writing = os.pipe()
    program = BEGIN + SAYS_ALL.replace("range(300)", "range(9000)")
    with within(15):
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=-1, stderr=writing, text=True, check=False
        )
    os.close(writing)
    assert (done.returncode, done.stdout) == (1, "alive\n")
    os.close(reading)


def test_what_was_dropped_is_told_once_it_is_read_again():
    reading, writing = os.pipe()
    program = """
for i in range(9000):
    log.warning("said", i=i, filler="x" * 200)
print(LOG_LINES.dropped, flush=True)
sys.stdin.read()
LOG_LINES.settle(60)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=writing,
        text=True,
    )
    os.close(writing)
    dropped = int(process.stdout.readline())
    assert 2000 < dropped < 9000
    with os.fdopen(reading) as log:
        process.stdin.close()
        said = [json.loads(line) for line in log]
    process.stdout.close()
    assert process.wait() == 0
    kept = [line["i"] for line in said if line["event"] == "said"]
    assert len(kept) == 9000 - dropped
    assert kept == sorted(set(kept))
    assert sum(line["lines"] for line in said if line["event"] == "log_lines_dropped") == dropped


def test_a_full_disk_with_space_again(tmp_path):
    """Files of this process may have 4 KiB, as on a disk that is nearly full: a write of what still fits is partial."""
    program = """
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
for i in range(100):
    log.warning("said", i=i, filler="x" * 200)
assert LOG_LINES.settle(60)
print(LOG_LINES.dropped, flush=True)
sys.stdin.read()
log.warning("again")
"""
    file = tmp_path / "log"
    with file.open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", BEGIN + program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    dropped = int(process.stdout.readline())
    assert dropped > 50
    whole, _, torn = file.read_text().rpartition("\n")
    assert len(whole.splitlines()) == 100 - dropped
    assert torn
    os.truncate(file, 0)
    process.stdin.close()
    process.stdout.close()
    assert process.wait() == 0
    said = [json.loads(line) for line in file.read_text().splitlines() if line]
    assert [line["event"] for line in said] == ["again", "log_lines_dropped"]
    assert said[1]["lines"] == dropped


def test_a_forked_process_has_a_log_of_its_own():
    done = run(
        "",
        """
log.warning("parent")
LOG_LINES.settle()
pid = os.fork()
log.warning("child" if pid == 0 else "parent")
LOG_LINES.settle()
os._exit(0) if pid == 0 else os.waitpid(pid, 0)
""",
    )
    assert sorted(json.loads(line)["event"] for line in done.stderr.splitlines()) == [
        "child",
        "parent",
        "parent",
    ]
