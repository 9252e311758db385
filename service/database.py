"""The database of a service: started, migrated, and with an admin key in it, while other things are loaded."""

import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from registry import idempotency, keys, prediction_jobs
from registry.loops import SteadyThread
from registry.postgres import schema
from registry.postgres.database import Sessions, make_engine, make_session_factory
from registry.postgres.embedded import EmbeddedPostgres
from service.private_files import ADMIN_KEY_FILE, write_private
from service.settings import ServiceSettings

SERVICE_FILE = "service.json"
STATEMENT_TIMEOUT_S = 5.0
GIVE_UP_S = 5.0
"""How long the end of a start waits for what is asked of somebody else's database."""


@dataclass(frozen=True)
class OpenDatabase:
    """A database that answers: its schema is this release's, and an admin key is in it."""

    url: str
    sessions: Sessions
    guard: SteadyThread | None
    """What keeps it running; None if it is not our own."""


class Database:
    """Opens the database in a thread of its own. A context, at whose end it is closed, however far that had come.

    Of two cores one loads PyTorch meanwhile. Until then nothing of a start needs the database.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        """Open nothing yet."""
        self._settings = settings
        self._stack = ExitStack()
        self._url: str | None = None
        self._own: EmbeddedPostgres | None = None
        self._opened: OpenDatabase | None = None
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="open-database", daemon=True)

    def __enter__(self) -> Self:
        """Begin to open it.

        Raises:
            DataDirBusyError: If another service uses the data directory.
            OSError: If the file with the database's password cannot be read.
        """
        self._url = self._settings.database_dsn()
        if self._url is None:
            self._own = EmbeddedPostgres(self._settings.data_dir)
            self._own.begin()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._thread.is_alive():
            self._stack.close()
        if self._own is not None:
            self._own.stop()
        self._thread.join(GIVE_UP_S)

    def wait(self) -> OpenDatabase:
        """Wait until it is open.

        Raises:
            EmbeddedDatabaseError: If our own cannot be started.
            DatabaseUnavailableError: If it does not answer.
            SchemaTooNewError: If a later release has migrated it.
        """
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        if self._opened is None:
            raise RuntimeError("The database is neither open nor has it failed.")
        return self._opened

    def _run(self) -> None:
        try:
            self._opened = self._open()
        except Exception as error:  # noqa: BLE001 (whoever waits is told)
            self._failure = error

    def _open(self) -> OpenDatabase:
        url = self._url or ""
        guard: SteadyThread | None = None
        if self._own is not None:
            self._own.wait()
            url, guard = self._own.url, self._own.guard
        # What a service that was killed left behind would send clients to a port that is not ours.
        (self._settings.data_dir / SERVICE_FILE).unlink(missing_ok=True)
        schema.upgrade(url)
        engine = make_engine(
            url, application_name="filopodia-service", statement_timeout_s=STATEMENT_TIMEOUT_S
        )
        self._stack.callback(engine.dispose)
        sessions = make_session_factory(engine)
        if guard is not None:
            with sessions.begin() as session:
                idempotency.abandon_unfinished(session)
                prediction_jobs.end_leases(session)
        ensure_admin_key(sessions, self._settings.data_dir)
        return OpenDatabase(url, sessions, guard)


def ensure_admin_key(session_factory: Sessions, data_dir: Path) -> None:
    """Make the first admin key and write it where only its owner can read it. A no-op if there is an admin key.

    A whole key that lies there already becomes the first one: whoever runs several services gives it to all of them.
    """
    file = data_dir / ADMIN_KEY_FILE
    found = file.read_text("utf-8", errors="replace").strip() if file.exists() else None
    with session_factory.begin() as session:
        key = keys.create_first_admin_key(session, found)
        if key is not None and key != found:
            # Before the commit: a key nobody can read would lock everybody out.
            write_private(file, key + "\n")
