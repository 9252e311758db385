"""A command of the command line on a terminal of its own."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.waiting import is_within

PATIENCE_S = 120
ROOT = Path(__file__).parents[3]


def heed_interrupts():
    """Undo what a shell does for jobs in the background, of which this test run may be one."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *arguments, cwd):
        self.leader, follower = pty.openpty()
        command = [sys.executable, "-m", "service.cli.main", *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        self.process = subprocess.Popen(
            command, stdin=follower, stdout=follower, stderr=follower, cwd=cwd, env=environment,
            start_new_session=True, preexec_fn=heed_interrupts,
        )  # fmt: skip
        os.close(follower)
        self.text = ""

    def expect(self, words):
        started = time.monotonic()
        while words not in self.text:
            assert is_within(time.monotonic() - started, PATIENCE_S), self.text
            if not self._read():
                break
        assert words in self.text, self.text

    def _read(self):
        if not select.select([self.leader], [], [], 0.2)[0]:
            return True
        try:
            data = os.read(self.leader, 4096)
        except OSError:
            return False
        self.text += data.decode("utf-8", "replace")
        return bool(data)

    def type(self, text):
        os.write(self.leader, text.encode())

    def end(self):
        while self._read() and self.process.poll() is None:
            pass
        code = self.process.wait()
        while self._read() and select.select([self.leader], [], [], 0)[0]:
            pass
        os.close(self.leader)
        return code
