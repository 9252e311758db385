"""Loading versions that requests ask for and that are not in memory: each once, in turns by keys."""

import asyncio
import math
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from functools import partial
from threading import Lock

from service.fairness import FairPool
from service.inference.snapshots import Snapshot, VersionAddress, VersionLoader
from service.inference.store import Key, SnapshotStore
from service.metrics import Metrics
from service.problems import Problem

LOAD_S = 0.1
"""Seconds that loading a version takes, about, until it is measured."""


class Loads:
    """Loads versions on a thread of its own. Neither the event loop nor the database is needed for that."""

    def __init__(
        self, store: SnapshotStore, loader: VersionLoader, metrics: Metrics, *, max_wait_s: float
    ) -> None:
        self._store = store
        self._loader = loader
        self._metrics = metrics
        self._max_wait_s = max_wait_s
        self._pool = FairPool(1, "load-version", unit_s=LOAD_S)
        self._under_way: dict[Key, Future[Snapshot]] = {}
        self._lock = Lock()

    def close(self) -> None:
        """Stop the thread after what it is doing."""
        self._pool.close()

    async def get(self, address: VersionAddress, owner: Hashable = None) -> Snapshot:
        """Return a version, from memory or once it is loaded.

        Args:
            address: Which one.
            owner: Whose turn it takes to load it.

        Raises:
            Problem: `version-damaged`, if it cannot be loaded; `overloaded`, if too many others are loaded first.
        """
        snapshot = self._store.loaded(address.key)
        if snapshot is not None:
            return snapshot
        # Others may wait for the same: whoever leaves must not take it away from them.
        loading = asyncio.shield(asyncio.wrap_future(self._load(address, owner)))
        try:
            async with asyncio.timeout(self._max_wait_s + self._pool.own_s(1)):
                return await loading
        except TimeoutError as error:
            raise self._overloaded(1) from error

    def get_blocking(
        self,
        address: VersionAddress,
        owner: Hashable,
        *,
        meanwhile: Callable[[], None],
        every_s: float,
    ) -> Snapshot:
        """Return a version as `get` does, to a thread, which waits for as long as it takes.

        Args:
            address: Which one.
            owner: Whose turn it takes to load it.
            meanwhile: Called again and again while it is loaded. What it raises ends the waiting, not the loading.
            every_s: Seconds between two of its calls.

        Raises:
            Problem: As `get`.
        """
        snapshot = self._store.loaded(address.key)
        if snapshot is not None:
            return snapshot
        loading = self._load(address, owner)
        while not wait([loading], every_s).done:
            meanwhile()
        return loading.result()

    def _load(self, address: VersionAddress, owner: Hashable) -> Future[Snapshot]:
        with self._lock:
            future = self._under_way.get(address.key)
            if future is None:
                wait_s = self._pool.wait_s(owner, 1)
                if wait_s > self._max_wait_s:
                    raise self._overloaded(wait_s - self._max_wait_s / 2)
                future = self._pool.submit(owner, 1, partial(self._bring, address))
                self._under_way[address.key] = future
        return future

    def _bring(self, address: VersionAddress) -> Snapshot:
        try:
            snapshot = self._store.loaded(address.key)
            if snapshot is None:
                snapshot = self._loader.load(address)
                self._store.keep(snapshot)
                self._metrics.versions_loaded_on_request.inc()
            return snapshot
        finally:
            with self._lock:
                self._under_way.pop(address.key, None)

    def _overloaded(self, retry_s: float) -> Problem:
        self._metrics.overloaded.inc()
        return Problem("overloaded", headers={"Retry-After": str(max(1, math.ceil(retry_s)))})
