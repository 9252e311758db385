"""How this tree's tests wait."""

import re
import time
from pathlib import Path

import pytest

from benchmarks.pace import Pace, measure
from tests.waiting import is_within, wait_until, within

TESTS = Path(__file__).parent
SLEEP = re.compile(r"\bsleep\((?!100_000\))")
SLEEPERS = {
    "compose/composition.py": "polls Docker, in a run by hand",
    "compose/run.py": "polls Docker, in a run by hand",
    "registry/blobs/test_store.py": "S3 tells times in seconds",
    "registry/postgres/test_database.py": "the rest that a frozen server is given",
    "registry/test_ids.py": "two identifiers of different milliseconds",
    "service/catalogue/connections.py": "hangs up in the middle of a body: nothing shows when it has come",
    "service/catalogue/wire.py": "a client that sends slowly",
    "service/dashboard/browser/test_browser.py": "gives what must not happen the time to happen",
    "service/dashboard/browser/test_hostile.py": "gives what must not happen the time to happen",
    "service/http/test_protocol.py": "a stream with nothing to say for longer than the deadline",
    "service/inference/test_engine.py": "requests some time apart",
    "service/inference/test_prediction_writer.py": "answers some time apart",
    "service/test_main.py": "a client that is slow to hang up",
    "service/test_startup.py": "a step that takes a while",
    "service/across/test_under_load.py": "lets requests go on for a while",
    "test_waiting.py": "tests the waiting",
    "worker/test_attempts.py": "keeps a lock for longer than a statement waits",
}
"""Who may sleep, and why that is not waiting for something to have happened."""


def test_nobody_sleeps_in_the_hope_that_something_has_happened():
    found = {
        str(path.relative_to(TESTS))
        for path in TESTS.rglob("*.py")
        if SLEEP.search(path.read_text("utf-8"))
    }
    assert found == set(SLEEPERS), "wait for an event with tests.waiting, or say here why not"


def test_no_test_has_a_clock_of_its_own():
    own = re.compile(
        r"= \w*\.?monotonic\(\) \+|monotonic\(\) <|monotonic\(\) - \w+ <|\.(wait|join)\([1-9]|timeout=\d"
    )
    found = {
        f"{path.relative_to(TESTS)}: {line.strip()}"
        for path in TESTS.rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if own.search(line) and path != Path(__file__) and "compose" not in path.parts
    }
    assert not found, "tests.waiting has wait_until, within and is_within"


def test_it_waits_for_the_event_and_returns_it():
    answers = iter([None, 0, "", "there"])
    assert wait_until(lambda: next(answers)) == "there"


def test_a_budget_that_is_over_fails(monkeypatch):
    monkeypatch.setattr("tests.waiting.PACE", said("1", monkeypatch))
    with pytest.raises(AssertionError, match="did not come true"):
        wait_until(lambda: False, 0.05)
    with pytest.raises(AssertionError, match=r"0\.01 s are allowed, times 1\.0"), within(0.01):
        time.sleep(0.05)


def test_budgets_are_longer_on_a_slow_machine(monkeypatch):
    monkeypatch.setattr("tests.waiting.PACE", said("20", monkeypatch))
    assert is_within(19, 1)
    assert not is_within(21, 1)
    with within(0.01):
        time.sleep(0.05)


def test_a_machine_that_gets_slower_gets_more_time(monkeypatch):
    monkeypatch.delenv("FILOPODIA_TEST_PACE", raising=False)
    measured = iter([1.0, 3.0, 2.0])
    monkeypatch.setattr("benchmarks.pace.measure", lambda: next(measured))
    pace = Pace()
    assert pace.scaled(10) == 10
    assert pace.again() == 3
    assert pace.again() == 3  # it does not forget how slow it was
    assert pace.scaled(10) == 30


def test_the_pace_is_a_number_from_1():
    assert 1 <= measure() < 1000


def said(pace, monkeypatch):
    monkeypatch.setenv("FILOPODIA_TEST_PACE", pace)
    return Pace()
