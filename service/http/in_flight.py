"""Requests under way, counted by key, so that one key leaves room for the requests of others."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from service.problems import Problem

TAKES_OF_FREE = 2
"""A key may have so many times what it leaves free, of requests as of memory for bodies: alone two thirds, and several
together never all."""
ALWAYS = 8
"""Requests that a key may have under way however many others there are."""


class InFlightLimit:
    """Counts for one event loop.

    Args:
        most: Requests that may be under way in all.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._n_all = 0
        self._n_of: Counter[str] = Counter()

    @contextmanager
    def counted(self, key_id: str) -> Iterator[None]:
        """Count a request of a key while the block runs.

        Raises:
            Problem: `overloaded`, if the key has as many as it may have.
        """
        free = self._most - self._n_all - 1
        if self._n_of[key_id] >= max(ALWAYS, TAKES_OF_FREE * free):
            detail = (
                "As many requests of this key are under way as one key may have: wait for answers."
            )
            raise Problem("overloaded", detail, headers={"Retry-After": "1"})
        self._n_all += 1
        self._n_of[key_id] += 1
        try:
            yield
        finally:
            self._n_all -= 1
            self._n_of[key_id] -= 1
            if not self._n_of[key_id]:
                del self._n_of[key_id]
