"""Housekeeping behind the service's back: once an hour, what is old or nothing refers to any more is deleted."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from threading import Event

import structlog

from registry import deliveries, idempotency, prediction_jobs, predictions, sessions
from registry.blobs.store import BlobStore
from registry.errors import RegistryError
from registry.loops import SteadyThread
from registry.postgres.database import Session, Sessions
from registry.upkeep.collection import GRACE, collect
from service.disk import Disk

log = structlog.get_logger(__name__)

EVERY_S = 3600.0
FIRST_S = 300.0
"""After a start other things matter more."""
PRUNED = 500
"""Predictions deleted in one transaction: a second or so, far from the timeout of statements. Chosen, untested."""


class Collector:
    """A thread that deletes what is old, predictions, jobs, messages, idempotency keys and ended sessions, and blobs.

    Blobs go that nothing refers to. It also looks how full the disk is, so that a rate is known when somebody asks.

    Several services may each run one: of two that collect blobs at once one does nothing, and the rest is safe twice.
    """

    def __init__(
        self,
        session_factory: Sessions,
        blobs: BlobStore,
        *,
        keep_predictions_days: int = 0,
        disk: Disk | None = None,
        grace: timedelta = GRACE,
        first_s: float = FIRST_S,
        every_s: float = EVERY_S,
    ) -> None:
        self._sessions = session_factory
        self._blobs = blobs
        self._keep_predictions_days = keep_predictions_days
        self._disk = disk
        self._grace = grace
        self._first_s = first_s
        self._every_s = every_s
        self._stopping = Event()
        self.thread = SteadyThread("collector", self._run, most_pause_s=every_s)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def stop(self) -> None:
        """End the thread; a listing of the blob store under way is left behind, which does no harm."""
        self._stopping.set()
        self.thread.join(timeout=1)

    def _run(self) -> None:
        pause_s = self._first_s
        while not self._stopping.wait(pause_s):
            pause_s = self._every_s
            if self._disk is not None:
                self._disk.look()
            try:
                with self._sessions.begin() as session:
                    idempotency.sweep(session)
                    sessions.sweep(session)
                self._prune()
                collected = collect(self._sessions, self._blobs, grace=self._grace)
            except RegistryError as error:
                log.warning("not_collected", reason=str(error))
            else:
                if collected.n_blobs:
                    log.info("collected", blobs=collected.n_blobs, bytes=collected.size_bytes)

    def _prune(self) -> None:
        self._repeat(partial(deliveries.prune, limit=PRUNED), PRUNED)
        if not self._keep_predictions_days:
            return
        keep = timedelta(days=self._keep_predictions_days)
        n_predictions = self._repeat(partial(predictions.prune, keep=keep, limit=PRUNED), PRUNED)
        n_jobs = self._repeat(partial(prediction_jobs.prune, keep=keep, limit=1), 1)
        if n_predictions or n_jobs:
            log.info("predictions_pruned", predictions=n_predictions, jobs=n_jobs)

    def _repeat(self, prune: Callable[[Session], int], most: int) -> int:
        """Prune, each time in a transaction of its own, while there is as much as one may take; return how many."""
        total, n_deleted = 0, most
        while n_deleted == most and not self._stopping.is_set():
            with self._sessions.begin() as session:
                n_deleted = prune(session)
            total += n_deleted
        return total
