"""`back_up`: everything an installation remembers, as of one moment, in one file. Decision record 12 says why so.

Rows come from one snapshot of the database, then the blobs that these rows refer to; blobs never change, so rows and
blobs fit together although the service goes on working. What workers are alive is no part of it, nor who has logged
out, nor links that log in: a restore must not bring a session or a link back that was ended or used since.
"""

import json
import tempfile
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Connection, Engine, NullPool, create_engine, func, select, text
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from registry import attention, references
from registry.blobs.store import BlobStore
from registry.errors import (
    BackupError,
    BackupIncompleteError,
    BlobDamagedError,
    BlobMissingError,
    DatabaseUnavailableError,
)
from registry.postgres import schema
from registry.postgres.database import CONNECT_TIMEOUT_S, driver_url
from registry.references import ArtifactFiles
from registry.tables import DeliveryRow, EndedSessionRow, LoginLinkRow, Row, WorkerRow
from registry.upkeep.backup_file import HEAD, BackupWriter, write_whole
from registry.upkeep.collection import no_collection

FORMAT_VERSION = 1
_LEFT_OUT = (
    WorkerRow.__table__,
    EndedSessionRow.__table__,
    LoginLinkRow.__table__,
    DeliveryRow.__table__,  # what is restored must not be sent once more
)
TABLES = tuple(table for table in Row.metadata.sorted_tables if table not in _LEFT_OUT)
"""In an order in which each comes after those it refers to."""
AT_A_TIME = 8
"""Blobs read side by side, and held in memory: a remote store answers each only after a while. Chosen, untested."""


@dataclass(frozen=True)
class BackedUp:
    """What a backup holds."""

    rows: dict[str, int]
    n_blobs: int
    size_bytes: int
    """Of the file."""
    missing: list[str] = field(default_factory=list)
    """Blobs that rows refer to but that are missing or damaged."""


def back_up(url: str, blobs: BlobStore, path: Path, *, allow_incomplete: bool = False) -> BackedUp:
    """Write a backup to `path`. Whatever was there before stays until the new one is complete.

    Works beside a service and workers, which are not slowed by any lock; only collection waits. Takes about as long
    as reading all blobs. The audit log has it when it is complete, so that everybody sees how old the newest one is.

    Args:
        url: Of the database.
        blobs: The blob store.
        path: The file.
        allow_incomplete: Write it even if blobs are missing or damaged; the backup then says which.

    Raises:
        BackupError: If the database's schema is not this release's, or the file cannot be written.
        BackupIncompleteError: If blobs are missing or damaged.
        DatabaseUnavailableError: If the database does not answer.
        BlobStoreUnavailableError: If the blob store does not answer.
    """
    with plain_engine(url, "filopodia backup") as engine:
        saved = _write(engine, blobs, path, allow_incomplete=allow_incomplete)
        with Session(engine) as session, session.begin():
            attention.note_backup(
                session, path.name, n_blobs=saved.n_blobs, size_bytes=saved.size_bytes
            )
        return saved


def _write(engine: Engine, blobs: BlobStore, path: Path, *, allow_incomplete: bool) -> BackedUp:
    with (
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as guard,
        no_collection(guard),
        write_whole(path) as file,
    ):
        writer = BackupWriter(file)
        with _snapshot(engine) as connection:
            head = _describe(connection)
            writer.add(HEAD, json.dumps(head, indent=1).encode())
            for table in TABLES:
                _copy_out(connection, writer, table.name, head, path.parent)
            with Session(connection) as session:
                wanted = references.addressed(session)
                manifests = references.manifests(session)
        missing = _add_blobs(writer, blobs, wanted, manifests)
        if missing and not allow_incomplete:
            raise BackupIncompleteError(missing)
        writer.finish(missing)
        rows = {name: described["rows"] for name, described in head["tables"].items()}
        return BackedUp(rows, writer.n_blobs, writer.size_bytes, missing)


@contextmanager
def plain_engine(url: str, application_name: str) -> Iterator[Engine]:
    """Make an engine without the service's time-outs: an operator's command may take its time.

    Raises:
        DatabaseUnavailableError: If the database does not answer, within the block.
    """
    options = {"application_name": application_name, "connect_timeout": CONNECT_TIMEOUT_S}
    engine = create_engine(
        driver_url(url), poolclass=NullPool, connect_args={**options, "client_encoding": "utf8"}
    )
    try:
        yield engine
    except (OperationalError, InterfaceError, psycopg.OperationalError) as error:
        raise DatabaseUnavailableError from error
    finally:
        engine.dispose()


def set_text_format(connection: Connection) -> None:
    """Have values written and read the same way by every server, and no statement cut off, in this transaction."""
    for name, value in {
        "statement_timeout": "0",
        "idle_in_transaction_session_timeout": "0",
        "TimeZone": "UTC",
        "DateStyle": "ISO, YMD",
        "extra_float_digits": "1",
    }.items():
        connection.execute(select(func.set_config(name, value, True)))


def driver_connection(connection: Connection) -> psycopg.Connection[Any]:
    """Return the connection of the driver below SQLAlchemy's, which can COPY."""
    driver: Any = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver


@contextmanager
def _snapshot(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that sees the rows as of its first query."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        set_text_format(connection)
        yield connection
        connection.rollback()


def _describe(connection: Connection) -> dict[str, Any]:
    revision = schema.revision(connection)
    if revision != schema.head_revision():
        raise BackupError(
            f"The database's schema has revision {revision}, this release needs {schema.head_revision()}: run "
            "filopodia migrate first, or make the backup with the release that the database is from."
        )
    return {
        "format_version": FORMAT_VERSION,
        "filopodia": version("filopodia"),
        "revision": revision,
        "server_version": connection.scalar(text("SHOW server_version")),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "tables": {
            table.name: {
                "columns": [column.name for column in table.columns],
                "rows": connection.scalar(select(func.count()).select_from(table)),
            }
            for table in TABLES
        },
    }


def _copy_out(
    connection: Connection, writer: BackupWriter, name: str, head: dict[str, Any], folder: Path
) -> None:
    columns = sql.SQL(", ").join(map(sql.Identifier, head["tables"][name]["columns"]))
    query = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(columns, sql.Identifier(name))
    # A member's size stands before it in a tar, and is known only after.
    with tempfile.TemporaryFile(dir=folder) as spool:
        with (
            driver_connection(connection).cursor() as cursor,
            cursor.copy(query) as copy,
        ):
            for data in copy:
                spool.write(data)
        writer.add_file(f"tables/{name}.copy", spool)


def _add_blobs(
    writer: BackupWriter, blobs: BlobStore, wanted: set[str], manifests: set[str]
) -> list[str]:
    """Add the blobs that rows name, and those that manifests name, and return those that cannot be read."""
    files = ArtifactFiles(blobs)
    missing: set[str] = set()
    for manifest in manifests:
        try:
            wanted = wanted | files.of(manifest).keys()
        except (BlobMissingError, BlobDamagedError):
            missing.add(manifest)
    for sha256, data in _read(blobs, sorted(wanted - missing)):
        if data is None:
            missing.add(sha256)
        else:
            writer.add(f"blobs/{sha256}", data)
    return sorted(missing)


def _read(blobs: BlobStore, hashes: Collection[str]) -> Iterator[tuple[str, bytes | None]]:
    def read(sha256: str) -> bytes | None:
        try:
            return blobs.get(sha256)
        except (BlobMissingError, BlobDamagedError):
            return None

    ordered = list(hashes)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for start in range(0, len(ordered), AT_A_TIME):
            batch = ordered[start : start + AT_A_TIME]
            yield from zip(batch, pool.map(read, batch), strict=True)
