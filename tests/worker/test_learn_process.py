"""Whose fault the end of a learn process is: small processes here, which say what a learn process says."""

import subprocess
import sys

import pytest

from tests.processes import is_alive
from tests.waiting import wait_until
from worker.learn_process import LearnProcess, RunningAttempt
from worker.settings import WorkerSettings

SPEAK = """
import os, socket, sys
from worker.handover import Line
line = Line(socket.socket(fileno=os.dup(0)))
for step in sys.argv[1:]:
    if step == "hear":
        line.hear_for_ever()
    elif step.isdigit():
        os._exit(int(step))
    else:
        line.say(*step.split("_"))
line.hear_for_ever()
"""


@pytest.fixture
def settings(tmp_path):
    return WorkerSettings(data_dir=tmp_path, device="cpu")


@pytest.fixture
def plays(monkeypatch):
    """A function that says what the processes that are started from now on do, one after the other."""
    left = []

    def start(settings, *arguments, stdin):
        command = [sys.executable, "-c", SPEAK, *left.pop(0)]
        return subprocess.Popen(command, stdin=stdin, start_new_session=True)

    monkeypatch.setattr("worker.learn_process._start", start)
    yield lambda *roles: left.extend(role.split() for role in roles)
    assert not left


def test_what_was_taken_and_lost_at_once_is_the_attempts_own(settings, plays):
    plays("ready hear taken 7")
    waiting = LearnProcess(settings)
    attempt = RunningAttempt(settings, "tsk_1", 3, waits=True, waiting=waiting)
    # It has ended before anybody looks.
    wait_until(lambda: waiting.has_ended)
    assert attempt.has_ended(5)
    assert attempt.exit_code == 7
    assert attempt.idle_process is None
    attempt.stop(0)


def test_what_was_never_taken_is_given_to_a_new_process_once(settings, plays):
    plays("ready hear 7", "ready hear taken ended_0")
    waiting = LearnProcess(settings)
    attempt = RunningAttempt(settings, "tsk_1", 3, waits=True, waiting=waiting)
    wait_until(lambda: attempt.has_ended(0.1))
    assert attempt.exit_code == 0
    assert attempt.pid != waiting.pid
    assert is_alive(attempt.idle_process.pid)
    attempt.stop(0)


def test_a_new_process_that_ends_before_it_takes_anything_has_failed(settings, plays):
    plays("ready hear 7", "8")
    attempt = RunningAttempt(settings, "tsk_1", 3, waits=True, waiting=LearnProcess(settings))
    wait_until(lambda: attempt.has_ended(0.1))
    assert attempt.exit_code == 8
    attempt.stop(0)


def test_a_process_that_ended_after_its_attempt_waits_no_more(settings, plays):
    plays("ready hear taken ended_0 9")
    attempt = RunningAttempt(settings, "tsk_1", 3, waits=True, waiting=LearnProcess(settings))
    wait_until(lambda: attempt.has_ended(0.1))
    assert attempt.exit_code == 0
    wait_until(lambda: attempt.idle_process is None)
    attempt.stop(0)
