import math

import pytest

from benchmarks.waiting import TooLateError, wait_until


def test_it_returns_what_was_waited_for():
    answers = iter([None, 0, "there"])
    assert wait_until(lambda: next(answers), math.inf, look_s=0.001) == "there"


def test_it_ends_when_the_budget_is_over_by_whatever_measure():
    asked = []

    def is_within(took_s, budget_s):
        asked.append((took_s, budget_s))
        return len(asked) < 3

    with pytest.raises(TooLateError, match="did not come true"):
        wait_until(lambda: False, 5.0, is_within=is_within, look_s=0.001)
    assert [budget for _, budget in asked] == [5.0] * 3
    with pytest.raises(TimeoutError):
        wait_until(lambda: False, 0.0, look_s=0.001)
