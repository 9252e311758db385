"""How full the disk of the blobs gets: looked at once an hour, and how long it lasts at the rate of the last days."""

import shutil
from collections import deque
from dataclasses import dataclass
from threading import Lock
from time import monotonic

from registry.blobs.store import BlobStore, LocalBlobStore

READINGS = 7 * 24
"""Kept: a week of hours."""
LEAST_S = 3600.0
"""A rate is told of readings at least that far apart."""
EVERY_S = 600.0
"""A reading that comes sooner after the last one is not kept."""


@dataclass(frozen=True)
class DiskState:
    """How much room there is."""

    free_bytes: int
    total_bytes: int
    full_in_s: float | None
    """Time until it is full at the rate measured; None while it does not fill, or that is not known yet."""


class Disk:
    """Looks at the disk that a local blob store lies on. Of any other store nothing is known."""

    def __init__(self, blobs: BlobStore) -> None:
        self._root = blobs.root if isinstance(blobs, LocalBlobStore) else None
        self._readings: deque[tuple[float, int]] = deque(maxlen=READINGS)
        self._lock = Lock()

    def look(self) -> DiskState | None:
        """Return how much room there is, and keep it as a reading; None if nothing is known."""
        if self._root is None:
            return None
        # The folder is made with the first blob.
        places = (self._root, *self._root.parents)
        place = next((place for place in places if place.exists()), self._root)
        try:
            usage = shutil.disk_usage(place)
        except OSError:
            return None
        with self._lock:
            full_in_s = self.note(monotonic(), usage.free)
        return DiskState(usage.free, usage.total, full_in_s)

    def note(self, now: float, free_bytes: int) -> float | None:
        """Keep a reading, and return the seconds until there is no room left; None if it is not getting less."""
        if not self._readings or now - self._readings[-1][0] >= EVERY_S:
            self._readings.append((now, free_bytes))
        first, free_then = self._readings[0]
        if now - first < LEAST_S or free_bytes >= free_then:
            return None
        return free_bytes / (free_then - free_bytes) * (now - first)
