"""Housekeeping behind the service's back: once an hour, what nothing refers to any more is deleted."""

from datetime import timedelta
from threading import Event, Thread

import structlog
from sqlalchemy.orm import Session, sessionmaker

from registry import idempotency
from registry.blobs import BlobStore
from registry.collection import GRACE, collect
from registry.errors import RegistryError

log = structlog.get_logger(__name__)

EVERY_S = 3600.0
FIRST_S = 300.0
"""After a start other things matter more."""


class Collector:
    """A thread that deletes blobs without a reference and old idempotency keys. Of several services one does it."""

    def __init__(
        self,
        session_factory: sessionmaker[Session],
        blobs: BlobStore,
        *,
        grace: timedelta = GRACE,
        first_s: float = FIRST_S,
        every_s: float = EVERY_S,
    ) -> None:
        self._sessions = session_factory
        self._blobs = blobs
        self._grace = grace
        self._first_s = first_s
        self._every_s = every_s
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="collector", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a listing of the blob store under way is left behind, which does no harm."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1)

    def _run(self) -> None:
        pause_s = self._first_s
        while not self._stopping.wait(pause_s):
            pause_s = self._every_s
            try:
                with self._sessions.begin() as session:
                    idempotency.sweep(session)
                collected = collect(self._sessions, self._blobs, grace=self._grace)
            except RegistryError as error:
                log.warning("not_collected", reason=str(error))
            except Exception:  # housekeeping must go on whatever one round meets
                log.exception("collection_failed")
            else:
                if collected.n_blobs:
                    log.info("collected", blobs=collected.n_blobs, bytes=collected.size_bytes)
