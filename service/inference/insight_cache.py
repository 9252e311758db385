"""What is found out about a version once and kept: on one thread of its own, for as many versions as there is room."""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotDoneError
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")

MOST_KEPT = 8
"""Versions. Of 10,000 images one is some 10 MB."""
MOST_WAITING = 32
"""Versions that may wait for their turn; whoever asks for another one asks again."""


class InsightCache(Generic[T]):
    """Finds out and keeps; those that were asked for longest ago go."""

    def __init__(self) -> None:
        """Start nothing: the thread starts with the first question."""
        self._pool = ThreadPoolExecutor(1, "insights")
        self._found: OrderedDict[tuple[str, int], Future[T]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: tuple[str, int], compute: Callable[[], T], *, wait_s: float) -> T | None:
        """Return what is known of a version; None if it is still being found out.

        Args:
            key: Id of the learner and number of the version.
            compute: Finds it out; called at most once at a time. What it raises is raised, and it is tried again.
            wait_s: How long to wait for it.
        """
        with self._lock:
            future = self._found.get(key)
            if future is None:
                if sum(not each.done() for each in self._found.values()) >= MOST_WAITING:
                    return None
                future = self._found[key] = self._pool.submit(compute)
            self._found.move_to_end(key)
            self._make_room()
        try:
            return future.result(wait_s)
        except NotDoneError:
            if future.done():
                self._forget(key)
                raise
            return None
        except Exception:
            self._forget(key)
            raise

    def close(self) -> None:
        """Drop what waits, and stop the thread after what it is doing."""
        self._pool.shutdown(cancel_futures=True)

    def _forget(self, key: tuple[str, int]) -> None:
        with self._lock:
            self._found.pop(key, None)

    def _make_room(self) -> None:
        done = [key for key, future in self._found.items() if future.done()]
        for key in done[: max(0, len(done) - MOST_KEPT)]:
            del self._found[key]
