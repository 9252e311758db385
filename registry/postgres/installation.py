"""The database of an installation, as a command on this machine reaches it: running, or started for the purpose."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import URL

from registry.errors import DataDirBusyError, EmbeddedDatabaseError
from registry.postgres.embedded import SUPERUSER, EmbeddedPostgres
from registry.postgres.server_paths import PORT
from registry.settings import RegistrySettings

SOCKET_LINE = 4
"""Of `postmaster.pid`, from 0: the folder of the server's socket."""
START_PATIENCE_S = 300.0
"""How long to wait for a service that starts right now."""


@contextmanager
def open_database(settings: RegistrySettings, *, create: bool = False) -> Iterator[str]:
    """Return the URL of an installation's database, good until the end of the block.

    That is `DATABASE_URL`; else the server that a service runs in the data directory; else that server is started here.

    Args:
        settings: Where the installation is.
        create: Whether to make a data directory that is not there.

    Raises:
        EmbeddedDatabaseError: If there is no installation, or its server cannot be started or reached.
        OSError: If the file with the database's password cannot be read.
    """
    url = settings.database_dsn()
    if url is not None:
        yield url
        return
    server = EmbeddedPostgres(settings.data_dir)
    if not create and not server.pgdata.exists():
        raise EmbeddedDatabaseError(
            f"There is no installation in {settings.data_dir}: name its data directory with --data or "
            "FILOPODIA_DATA_DIR, or its database with DATABASE_URL."
        )
    try:
        server.start()
    except DataDirBusyError:
        yield _running(server.pgdata)
        return
    try:
        yield server.url
    finally:
        server.stop()


def _running(pgdata: Path) -> str:
    """Return the URL of the server that another process runs."""
    deadline = time.monotonic() + START_PATIENCE_S
    while time.monotonic() < deadline:
        # Half written while the server starts.
        with suppress(FileNotFoundError, IndexError):
            folder = (pgdata / "postmaster.pid").read_text().splitlines()[SOCKET_LINE]
            if folder and (Path(folder) / f".s.PGSQL.{PORT}").exists():
                query = {"host": folder, "port": str(PORT)}
                url = URL.create("postgresql", username=SUPERUSER, database="postgres", query=query)
                return url.render_as_string()
        time.sleep(0.1)
    raise EmbeddedDatabaseError(
        f"A service uses the data directory {pgdata.parent}, but its database cannot be reached: run this command as "
        "the service's user."
    )
