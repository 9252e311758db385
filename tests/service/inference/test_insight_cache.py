"""What is found out about versions is found out once, on one thread, and kept within a bound."""

from threading import Event

import pytest

from service.inference import insight_cache
from service.inference.insight_cache import InsightCache


@pytest.fixture
def cache():
    kept = InsightCache()
    yield kept
    kept.close()


def test_it_is_found_out_once_and_whoever_does_not_wait_asks_again(cache):
    go, asked = Event(), []

    def compute():
        asked.append(1)
        go.wait()
        return "found"

    assert cache.get(("lrn", 1), compute, wait_s=0) is None
    assert cache.get(("lrn", 1), compute, wait_s=0) is None
    go.set()
    assert cache.get(("lrn", 1), compute, wait_s=10) == "found"
    assert cache.get(("lrn", 1), compute, wait_s=0) == "found"
    assert asked == [1]


def test_what_failed_is_tried_again(cache):
    def fail():
        raise ValueError("once")

    with pytest.raises(ValueError, match="once"):
        cache.get(("lrn", 1), fail, wait_s=10)
    assert cache.get(("lrn", 1), lambda: "found", wait_s=10) == "found"


def test_a_time_out_of_what_finds_it_out_is_no_waiting(cache):
    def fail():
        raise TimeoutError("of the store")

    with pytest.raises(TimeoutError, match="of the store"):
        cache.get(("lrn", 1), fail, wait_s=10)


def test_those_asked_for_longest_ago_go(cache, monkeypatch):
    monkeypatch.setattr(insight_cache, "MOST_KEPT", 2)
    for number in (1, 2):
        cache.get(("lrn", number), lambda: "first", wait_s=10)
    cache.get(("lrn", 1), lambda: "again", wait_s=10)
    cache.get(("lrn", 3), lambda: "first", wait_s=10)
    cache.get(("lrn", 4), lambda: "first", wait_s=10)
    assert cache.get(("lrn", 2), lambda: "again", wait_s=10) == "again"


def test_no_more_than_some_wait(cache, monkeypatch):
    monkeypatch.setattr(insight_cache, "MOST_WAITING", 2)
    go = Event()

    def compute():
        go.wait()
        return "found"

    for number in (1, 2, 3):
        assert cache.get(("lrn", number), compute, wait_s=0) is None
    go.set()
    assert cache.get(("lrn", 2), compute, wait_s=10) == "found"
    assert cache.get(("lrn", 3), lambda: "only now", wait_s=10) == "only now"
