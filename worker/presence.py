"""A worker's presence in the registry: it takes over what a dead predecessor left, then says that it lives."""

import importlib.metadata
import os
import socket
import threading
from typing import Literal

import structlog

from registry import queue, workers
from registry.errors import DatabaseUnavailableError
from registry.loops import SteadyThread
from registry.postgres.database import Session, Sessions
from worker.devices import device_name
from worker.settings import WorkerSettings

log = structlog.get_logger()

SEEN_S = 5.0
OUTAGE_PAUSE_S = 2.0


class Presence:
    """A thread that says hello. Its worker must be the only one of its name: see `worker.single_worker`."""

    def __init__(
        self,
        settings: WorkerSettings,
        session_factory: Sessions,
        kind: Literal["local", "celery"],
    ) -> None:
        self.arrived = threading.Event()
        """Set once a predecessor's tasks are free. Nothing must be claimed before: it would be freed as well."""
        self._settings = settings
        self._sessions = session_factory
        self._kind = kind
        self._stop = threading.Event()
        self._thread = SteadyThread("presence", self._run, most_pause_s=OUTAGE_PAUSE_S)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye, if it ever said hello and the database is there to hear it."""
        self._stop.set()
        if self._thread.ident is None:
            # A second worker of the name: the goodbye would be the first one's.
            return
        self._thread.join(timeout=OUTAGE_PAUSE_S)
        try:
            with self._sessions.begin() as session:
                workers.leave(session, self._settings.worker_id)
        except DatabaseUnavailableError:
            log.warning("goodbye_unheard")

    def _run(self) -> None:
        device = device_name(self._settings.device)
        while not self._stop.is_set():
            try:
                with self._sessions.begin() as session:
                    if self.arrived.is_set():
                        workers.see(session, self._settings.worker_id)
                    else:
                        self._arrive(session, device)
                self.arrived.set()
            except DatabaseUnavailableError:
                log.warning("database_unavailable")
                self._stop.wait(OUTAGE_PAUSE_S)
            else:
                self._stop.wait(SEEN_S)

    def _arrive(self, session: Session, device: str) -> None:
        settings = self._settings
        n = queue.release_leases(session, settings.worker_id)
        if n:
            log.warning("leases_of_predecessor_released", n=n)
        workers.forget_gone(session)
        workers.announce(
            session,
            settings.worker_id,
            kind=self._kind,
            host=socket.gethostname(),
            pid=os.getpid(),
            device=device,
            slots=settings.slots if self._kind == "local" else 1,
            version=importlib.metadata.version("filopodia"),
        )
