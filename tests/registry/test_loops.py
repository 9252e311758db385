import threading

import pytest

from registry.loops import SteadyThread
from tests.waiting import wait_until


class Worked:
    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.threads = []

    def __call__(self):
        self.threads.append(threading.get_ident())
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        if outcome is not None:
            outcome.wait()


@pytest.mark.parametrize(
    "error",
    [RuntimeError("no"), OSError(28, "No space left on device"), MemoryError(), SystemExit(1)],
)
def test_work_that_fails_begins_again_in_the_same_thread(error):
    going_on = threading.Event()
    work = Worked(error, error, going_on)
    thread = SteadyThread("steady", work, first_pause_s=0.01)
    assert thread.state == "down"
    thread.start()
    wait_until(lambda: len(work.threads) == 3 and thread.state == "up")
    assert thread.failures == 2
    assert set(work.threads) == {thread.ident}
    going_on.set()
    wait_until(lambda: thread.state == "down")


def test_it_pauses_and_says_so_and_a_pause_ends_with_it():
    thread = SteadyThread(
        "steady", Worked(RuntimeError("no")), first_pause_s=3600, most_pause_s=3600
    )
    thread.start()
    wait_until(lambda: thread.state == "failing")
    thread.join()
    assert (thread.state, thread.failures) == ("down", 1)


def test_a_log_that_fails_does_not_end_it(monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("registry.loops.log", type("Log", (), {"exception": fail})())
    going_on = threading.Event()
    thread = SteadyThread("steady", Worked(RuntimeError("no"), going_on), first_pause_s=0.01)
    thread.start()
    wait_until(lambda: thread.failures == 1 and thread.state == "up")
    going_on.set()
    thread.join()


def test_joining_what_was_never_started_does_nothing():
    SteadyThread("steady", lambda: None).join()
