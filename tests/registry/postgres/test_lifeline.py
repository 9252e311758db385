import signal
import subprocess
import sys

import pytest

from tests.processes import is_alive
from tests.waiting import wait_until

CHILD = """
import os, signal, sys, time
from registry.postgres.lifeline import die_with_parent
die_with_parent(signal.SIGKILL, int(sys.argv[1]) if len(sys.argv) > 1 else os.getppid())
print(os.getpid(), flush=True)
time.sleep(100_000)
"""
PARENT = """
import subprocess, sys
subprocess.run([sys.executable, "-c", sys.argv[1]])
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children")


def test_child_dies_with_its_parent():
    command = [sys.executable, "-c", PARENT, CHILD]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    child_pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not is_alive(child_pid))


def test_child_of_a_parent_that_is_dead_already_dies_at_once():
    child = subprocess.run([sys.executable, "-c", CHILD, "1"], check=False)
    assert child.returncode == -signal.SIGKILL
