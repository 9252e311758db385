"""One key leaves room for the requests of others."""

from contextlib import ExitStack

import pytest

from service.http.under_way import ALWAYS, UnderWay
from service.problems import Problem


def fill(stack, under_way, key):
    """Begin requests of a key until it may have no more; returns how many it has."""
    begun = iter(lambda: begin(stack, under_way, key), None)
    return sum(1 for _ in begun)


def begin(stack, under_way, key):
    try:
        stack.enter_context(under_way.one_of(key))
    except Problem:
        return None
    return key


def test_who_has_too_many_is_told_when_to_come_back():
    under_way = UnderWay(1)
    with ExitStack() as stack:
        fill(stack, under_way, "a")
        with pytest.raises(Problem) as refused, under_way.one_of("a"):
            pass
    assert refused.value.code == "overloaded"
    assert refused.value.headers["Retry-After"] == "1"


def test_a_key_alone_has_two_thirds_and_the_next_ones_of_what_is_left():
    under_way = UnderWay(900)
    with ExitStack() as stack:
        counts = [fill(stack, under_way, key) for key in "abc"]
        assert counts == pytest.approx([600, 200, 67], abs=2)


def test_a_key_always_has_some_however_many_others_there_are():
    under_way = UnderWay(20)
    with ExitStack() as stack:
        for key in "abcdefgh":
            assert fill(stack, under_way, key) >= ALWAYS


def test_what_has_ended_counts_no_more():
    under_way = UnderWay(90)
    with ExitStack() as stack:
        before = fill(stack, under_way, "a")
    with ExitStack() as stack:
        assert fill(stack, under_way, "a") == before
        assert fill(stack, under_way, "b") > ALWAYS
