"""Hears at once what other processes have committed, through PostgreSQL's `LISTEN`.

Triggers notify, so that nobody who writes can forget to: see `migrations/versions/0010_heard.py`. A notification says
"look now" and nothing else. Whoever listens also looks by the clock: what is not heard, because the connection is lost
or leads through a pooler that lends another one for each transaction, is only noticed later.
"""

import selectors
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from threading import Event
from typing import Any

import psycopg
import structlog
from sqlalchemy import Connection

from registry.errors import DatabaseUnavailableError
from registry.loops import SteadyThread
from registry.postgres.database import Sessions

log = structlog.get_logger()

SERVING = "filopodia_serving"
"""Channel: an alias was moved, a version erased, a class renamed or hidden, a key changed, a session ended."""
TASKS = "filopodia_tasks"
"""Channel: a task was queued, held or has ended, so that it or another one may be learned now."""
JOBS = "filopodia_jobs"
"""Channel: a prediction job was queued, or ended."""
DELIVERIES = "filopodia_deliveries"
"""Channel: a message to a subscriber was put into the queue."""

OUTAGE_PAUSE_S = 2.0
"""Between two tries to connect."""
CHECK_S = 60.0
"""How often a silent connection is asked whether it is still there."""


class Listener:
    """A thread with a connection of its own, which waits in the kernel.

    Args:
        sessions: On the database to listen to. One connection is taken out of its pool for good.
        wakes: By channel, what to call after a notification, and after each connecting: something may have been
            missed. It must neither wait nor raise. Notifications that come together call it once.
    """

    def __init__(
        self, sessions: Sessions, wakes: Mapping[str, Sequence[Callable[[], object]]]
    ) -> None:
        self._sessions = sessions
        self._wakes = dict(wakes)
        self._stopping = Event()
        self.thread = SteadyThread("listener", self._run, most_pause_s=OUTAGE_PAUSE_S)
        self.is_listening = False
        """Whether the connection stands."""

    def start(self) -> None:
        """Start the thread."""
        self._ours, self._theirs = socket.socketpair()
        self.thread.start()

    def stop(self) -> None:
        """End the thread, and close its connection; one that hangs in an outage is left behind."""
        self._stopping.set()
        if self.thread.ident is None:
            return
        # Theirs is readable from now on.
        self._ours.close()
        self.thread.join(timeout=5)
        if not self.thread.is_alive():
            self._theirs.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._listen()
            except (DatabaseUnavailableError, psycopg.Error) as error:
                log.warning("not_listening", reason=type(error).__name__)
            finally:
                self.is_listening = False
            self._stopping.wait(OUTAGE_PAUSE_S)

    def _listen(self) -> None:
        """Connect, and hear until the connection is lost or we are to stop.

        Raises:
            DatabaseUnavailableError, psycopg.Error: If it cannot be made, or is lost.
        """
        engine = self._sessions.kw["bind"]
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            driver: Any = connection.connection.driver_connection
            connection.detach()
            # It is idle for good reason, whatever the server's default.
            connection.exec_driver_sql("SET idle_session_timeout = 0")
            for channel in self._wakes:
                connection.exec_driver_sql(f"LISTEN {channel}")
            self.is_listening = True
            self._wake(self._wakes)
            with selectors.DefaultSelector() as selector:
                selector.register(driver.pgconn.socket, selectors.EVENT_READ)
                selector.register(self._theirs, selectors.EVENT_READ)
                self._hear(connection, driver, selector)

    def _hear(
        self,
        connection: Connection,
        driver: "psycopg.Connection[Any]",
        selector: selectors.BaseSelector,
    ) -> None:
        while not self._stopping.is_set():
            ready = selector.select(CHECK_S)
            if self._stopping.is_set():
                return
            if not ready:
                connection.exec_driver_sql("SELECT 1")
            driver.pgconn.consume_input()
            heard = set()
            while (notification := driver.pgconn.notifies()) is not None:
                heard.add(notification.relname.decode())
            self._wake(heard)

    def _wake(self, channels: Collection[str]) -> None:
        for channel in channels:
            for wake in self._wakes.get(channel, ()):
                wake()
