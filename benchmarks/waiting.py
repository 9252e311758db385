"""Waiting for something to have happened."""

import operator
import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 180.0
LOOK_S = 0.1
Found = TypeVar("Found")


class TooLateError(TimeoutError):
    """What was waited for has not happened in time."""


def wait_until(
    condition: Callable[[], Found],
    timeout_s: float = PATIENCE_S,
    *,
    is_within: Callable[[float, float], bool] = operator.le,
    look_s: float = LOOK_S,
) -> Found:
    """Wait until a condition holds and return what it returned.

    Args:
        condition: Holds once it returns something true.
        timeout_s: Budget in seconds.
        is_within: Says of the seconds since the start and the budget whether to go on.
        look_s: Seconds between two looks.

    Raises:
        TooLateError: If the budget is over.
    """
    started = time.monotonic()
    while not (found := condition()):
        took_s = time.monotonic() - started
        if not is_within(took_s, timeout_s):
            raise TooLateError(f"it did not come true in {took_s:.0f} s")
        time.sleep(look_s)
    return found
