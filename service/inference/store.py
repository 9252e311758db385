"""Versions in memory: the live ones, and a few older ones that were asked for, within a bound of bytes.

Which version of each learner is live is always known, with what it takes to load it. The versions themselves are
dropped, those used longest ago first, where they do not fit; whoever wants one then waits until it is loaded again.
"""

import ctypes
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from threading import Lock

from registry.classes import PLAIN, Shown
from service.inference.footprint import tensor_bytes
from service.inference.snapshots import Snapshot, VersionAddress
from service.metrics import Metrics

Key = tuple[str, int]
"""Id of the learner and number of the version."""


@dataclass
class _Loaded:
    snapshot: Snapshot
    n_bytes: int
    is_used: bool = False
    is_weighed_in_use: bool = False
    """Whether it was weighed after its first use: some parts are computed then."""


class SnapshotStore:
    """The snapshots that requests take, and how their classes are shown."""

    def __init__(self, *, older_versions: int, metrics: Metrics, max_bytes: float = inf) -> None:
        """Begin without any.

        Args:
            older_versions: Most versions in memory that are not live: only those that requests ask for.
            metrics: Told what is in memory.
            max_bytes: Of the tensors of all versions, shared backbones aside. One version is kept whatever its size.
        """
        self._live: Mapping[str, VersionAddress] = {}
        self._loaded: OrderedDict[Key, _Loaded] = OrderedDict()
        self._shown: Mapping[str, Shown] = {}
        self._most_older = older_versions
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._metrics = metrics

    def live(self, learner: str) -> Snapshot | None:
        """Return the live snapshot of a learner, if it is in memory, and mark it as used."""
        address = self._live.get(learner)
        return None if address is None else self.loaded(address.key)

    def live_address(self, learner: str) -> VersionAddress | None:
        """Return which version of a learner is live, in memory or not."""
        return self._live.get(learner)

    def all_live(self) -> list[VersionAddress]:
        """Return the live versions of all learners, in memory or not."""
        return list(self._live.values())

    def loaded(self, key: Key) -> Snapshot | None:
        """Return a version if it is in memory, and mark it as used."""
        with self._lock:
            entry = self._loaded.get(key)
            if entry is None:
                return None
            entry.is_used = True
            self._loaded.move_to_end(key)
            return entry.snapshot

    def shown(self, learner_id: str) -> Shown:
        """Return what a learner's classes are called, and which are hidden."""
        return self._shown.get(learner_id, PLAIN)

    def show(self, shown: Mapping[str, Shown]) -> None:
        """Show classes so from now on, by the id of their learner."""
        self._shown = shown

    def swap(self, snapshot: Snapshot) -> None:
        """Serve this snapshot from now on, and let go of the one before: requests under way have it still.

        Each version holds all that was learned by then, so one kept for every task would be memory for nobody.
        """
        with self._lock:
            before = self._live.get(snapshot.learner)
            self._live = {**self._live, snapshot.learner: snapshot.address}
            if before is not None and before.key != snapshot.address.key:
                self._loaded.pop(before.key, None)
        self.keep(snapshot)
        _give_memory_back()

    def adopt(self, snapshot: Snapshot) -> None:
        """Serve this snapshot if nothing of its learner is served yet."""
        with self._lock:
            if snapshot.learner not in self._live:
                self._live = {**self._live, snapshot.learner: snapshot.address}

    def keep(self, snapshot: Snapshot) -> None:
        """Keep a version until others that were used since need its place."""
        n_bytes = tensor_bytes(snapshot.strategy)
        with self._lock:
            self._loaded[snapshot.address.key] = _Loaded(snapshot, n_bytes)
            self._loaded.move_to_end(snapshot.address.key)
        self._make_room()

    def weigh_used(self) -> None:
        """Weigh versions that were used for the first time once more."""
        with self._lock:
            used = [
                one for one in self._loaded.values() if one.is_used and not one.is_weighed_in_use
            ]
        for one in used:
            one.n_bytes = tensor_bytes(one.snapshot.strategy)
            one.is_weighed_in_use = True
        if used:
            self._make_room()

    def retain(self, learner_ids: set[str]) -> None:
        """Forget the snapshots of learners that are gone."""
        with self._lock:
            self._live = {n: a for n, a in self._live.items() if a.learner_id in learner_ids}
            for key in [key for key in self._loaded if key[0] not in learner_ids]:
                del self._loaded[key]
        self._count()

    def loaded_older(self) -> list[Key]:
        """Return id of the learner and number of every version in memory that is not live."""
        with self._lock:
            return self._older_keys()

    def drop(self, erased: set[Key]) -> None:
        """Forget versions that were erased; each as id of its learner and number."""
        with self._lock:
            for key in erased:
                self._loaded.pop(key, None)
        self._count()

    def _older_keys(self) -> list[Key]:
        live = {address.key for address in self._live.values()}
        return [key for key in self._loaded if key not in live]

    def _make_room(self) -> None:
        """Drop what is beyond the bounds, but never what was used last."""
        dropped = []
        with self._lock:
            older = self._older_keys()
            for key in older[: max(0, len(older) - self._most_older)]:
                self._loaded.pop(key)
            total = sum(one.n_bytes for one in self._loaded.values())
            while total > self._max_bytes and len(self._loaded) > 1:
                _, one = self._loaded.popitem(last=False)
                total -= one.n_bytes
                dropped.append(one)
        self._metrics.versions_dropped.inc(len(dropped))
        self._count()
        if dropped:
            dropped.clear()
            _give_memory_back()

    def _count(self) -> None:
        with self._lock:
            self._metrics.versions_loaded.set(len(self._loaded))
            self._metrics.loaded_bytes.set(sum(one.n_bytes for one in self._loaded.values()))


def _give_memory_back() -> None:
    """Let the C library return what is free to the system, where it knows how: it would keep most of it."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
