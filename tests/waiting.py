"""How tests wait: for events, with budgets of time that are as long as this machine needs them.

A budget is written for the machine of `benchmarks.pace` and multiplied by the pace. Before one is said to be over, the
pace is measured again: the machine may have become busier since.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from benchmarks import waiting
from benchmarks.pace import Pace

Found = TypeVar("Found")

LOOK_S = 0.02
PACE = Pace()
"""Of this test run."""


def is_within(took_s: float, seconds: float) -> bool:
    """Say whether something was done in a budget, which both are in seconds."""
    return took_s <= PACE.scaled(seconds) or took_s <= seconds * PACE.again()


def wait_until(condition: Callable[[], Found], timeout_s: float = 60.0) -> Found:
    """Wait until a condition holds and return what it returned; fail after a budget."""
    try:
        return waiting.wait_until(condition, timeout_s, is_within=is_within, look_s=LOOK_S)
    except waiting.TooLateError as error:
        raise AssertionError(str(error)) from None


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail if the block takes longer than a budget: for what has to be prompt."""
    started = time.monotonic()
    yield
    took_s = time.monotonic() - started
    assert is_within(took_s, seconds), (
        f"it took {took_s:.2f} s; {seconds:g} s are allowed, times {PACE.factor:.1f} here"
    )
