"""How an attempt reaches the database: what took an hour to learn must not be lost to a second without it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import structlog

from registry.errors import DatabaseUnavailableError
from registry.postgres.database import Session, Sessions, make_engine, make_session_factory
from worker.settings import WorkerSettings

log = structlog.get_logger()

ResultT = TypeVar("ResultT")

RETRY_S = 1.0
STATEMENT_TIMEOUT_S = 60.0
OUTAGE_PATIENCE_S = 600.0
"""How long what was learned waits for the database before the attempt is given up."""


def patience(stop: threading.Event) -> Callable[[], bool]:
    """Return what `retry_transaction` asks: yes for so long from now, and until the attempt is to stop."""
    deadline = time.monotonic() + OUTAGE_PATIENCE_S
    return lambda: time.monotonic() < deadline and not stop.is_set()


class Connections:
    """How a learn process reaches the database, again and again: statements that were compiled once stay so."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Connect to nothing yet."""
        self._engine = make_engine(
            settings.require_database_url(),
            application_name="filopodia-learn",
            statement_timeout_s=STATEMENT_TIMEOUT_S,
        )

    @contextmanager
    def opened(self) -> Iterator[Sessions]:
        """Make sessions. Connects when the first is used; no connection is left afterwards."""
        try:
            yield make_session_factory(self._engine)
        finally:
            self._engine.dispose()


def retry_transaction(
    session_factory: Sessions,
    action: Callable[[Session], ResultT],
    *,
    may_go_on: Callable[[], bool],
) -> ResultT:
    """Run `action` in a transaction, again while the database is away or a lock is taken.

    Args:
        session_factory: Sessions on the registry.
        action: Guarded by the task's token, so that it does no harm if an earlier try was committed after all.
        may_go_on: Asked after each failure.

    Raises:
        DatabaseUnavailableError: If the database is away and `may_go_on` says no.
    """
    while True:
        try:
            with session_factory.begin() as session:
                return action(session)
        except DatabaseUnavailableError:
            if not may_go_on():
                raise
            log.warning("database_unavailable")
        time.sleep(RETRY_S)
