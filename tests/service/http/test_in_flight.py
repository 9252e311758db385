"""One key leaves room for the requests of others."""

from contextlib import ExitStack

import pytest

from service.http.in_flight import ALWAYS, InFlightLimit
from service.problems import Problem


def fill(stack, in_flight, key):
    """Begin requests of a key until it may have no more; returns how many it has."""
    begun = iter(lambda: begin(stack, in_flight, key), None)
    return sum(1 for _ in begun)


def begin(stack, in_flight, key):
    try:
        stack.enter_context(in_flight.counted(key))
    except Problem:
        return None
    return key


def test_who_has_too_many_is_told_when_to_come_back():
    in_flight = InFlightLimit(1)
    with ExitStack() as stack:
        fill(stack, in_flight, "a")
        with pytest.raises(Problem) as refused, in_flight.counted("a"):
            pass
    assert refused.value.code == "overloaded"
    assert refused.value.headers["Retry-After"] == "1"


def test_a_key_alone_has_two_thirds_and_the_next_ones_of_what_is_left():
    in_flight = InFlightLimit(900)
    with ExitStack() as stack:
        counts = [fill(stack, in_flight, key) for key in "abc"]
        assert counts == pytest.approx([600, 200, 67], abs=2)


def test_a_key_always_has_some_however_many_others_there_are():
    in_flight = InFlightLimit(20)
    with ExitStack() as stack:
        for key in "abcdefgh":
            assert fill(stack, in_flight, key) >= ALWAYS


def test_what_has_ended_counts_no_more():
    in_flight = InFlightLimit(90)
    with ExitStack() as stack:
        before = fill(stack, in_flight, "a")
    with ExitStack() as stack:
        assert fill(stack, in_flight, "a") == before
        assert fill(stack, in_flight, "b") > ALWAYS
