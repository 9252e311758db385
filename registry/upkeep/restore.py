"""`restore`: an installation as it was when a backup was made. `check_backup` goes first, and touches nothing.

Rows are first brought into a schema of their own, at the revision they were written with, and migrated there. Then one
transaction empties the real tables and fills them. So a restore that fails, or is killed, changes nothing.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import psycopg
from alembic import command
from psycopg import sql
from sqlalchemy import Connection, Engine, func, inspect, make_url, select, text, update
from sqlalchemy.orm import Session

from registry import audit, idempotency, queue
from registry.blobs.store import BlobStore
from registry.errors import (
    BackupDamagedError,
    BackupError,
    BlobDamagedError,
    BlobMissingError,
    RestoreRefusedError,
)
from registry.postgres import schema
from registry.postgres.database import alembic_config
from registry.statuses import PENDING, WITH_WORKER, TaskStatus
from registry.tables import DeliveryRow, LearnerRow, TaskRow
from registry.upkeep.backup import (
    FORMAT_VERSION,
    TABLES,
    driver_connection,
    plain_engine,
    set_text_format,
)
from registry.upkeep.backup_file import HEAD, BackupReader
from registry.upkeep.sealed_tar import Member

SCRATCH = "filopodia_restore"
"""Schema that rows are prepared in; dropped at the end, and before a start if an earlier one was killed."""
RESTORE_LOCK = 0xF110_BACC
"""Key of the advisory lock: one restore at a time."""


@dataclass(frozen=True)
class Restored:
    """What a restore has brought back."""

    created_at: str
    """When the backup was made."""
    filopodia: str
    """Release that made it."""
    rows: dict[str, int]
    n_blobs: int
    blob_bytes: int
    missing: list[str]
    """Blobs that were missing already when the backup was made."""
    n_requeued: int = 0
    """Tasks that were being learned when the backup was made, and wait for a worker again."""


@dataclass(frozen=True)
class CheckedBackup:
    """A backup that is whole, as it was a moment ago."""

    path: Path
    head: dict[str, Any]
    found: Restored
    hashes: list[str]
    """Of its blobs."""


def check_backup(path: Path) -> CheckedBackup:
    """Read a backup from end to end, and check every sum.

    Raises:
        BackupError: If the file cannot be read, or is of a later release.
        BackupDamagedError: If it is damaged, or no backup of ours.
    """
    with _open(path) as file:
        return _check(path, file)


def restore(
    url: str,
    blobs: BlobStore,
    backup: CheckedBackup,
    *,
    replace_all: bool = False,
    floor_bytes: int = 0,
) -> Restored:
    """Bring back what a backup holds. Checks the sums again while it reads.

    Args:
        url: Of the database; its schema is brought up to date.
        blobs: The blob store. Blobs of the backup that are damaged there are written again.
        backup: From `check_backup`.
        replace_all: Whether to empty an installation that has learners.
        floor_bytes: Free disk space that must be left.

    Raises:
        BackupDamagedError: If the file has changed since it was checked, or its rows do not fit together.
        RestoreRefusedError: If a service or worker uses the database, or there are learners.
        StorageFullError: If there is too little space.
        SchemaTooNewError: If the database was migrated by a later release.
        DatabaseUnavailableError: If the database does not answer.
    """
    with (
        _open(backup.path) as file,
        plain_engine(url, "filopodia restore") as engine,
        _sole_restore(engine),
    ):
        _require_unused(engine)
        schema.upgrade(url)
        if not replace_all:
            _require_empty(engine)
        blobs.require_space(backup.found.blob_bytes, floor_bytes=floor_bytes)
        with _scratch(engine, url, backup.head) as scratch_url:
            _load_backup(engine, blobs, BackupReader(file), backup)
            command.upgrade(alembic_config(scratch_url), "head")
            n_requeued = _switch(engine, backup.found.created_at, replace_all=replace_all)
    return replace(backup.found, n_requeued=n_requeued)


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror or error}.") from error


def _check(path: Path, file: IO[bytes]) -> CheckedBackup:
    reader = BackupReader(file)
    head: dict[str, Any] = {}
    blob_sizes: dict[str, int] = {}
    tables: set[str] = set()
    for member in reader.members():
        if member.name == HEAD:
            head = _parse_head(reader.parse_json(member.read(), HEAD))
        elif member.name.startswith("tables/"):
            tables.add(_table_of(member))
        else:
            blob_sizes[_hash_of(member)] = member.size
    missing = reader.missing()
    if tables != set(head["tables"]) or not tables <= {table.name for table in TABLES}:
        raise BackupDamagedError("The backup does not hold the tables that it says it does.")
    rows = {name: described["rows"] for name, described in head["tables"].items()}
    origin = str(head.get("created_at")), str(head.get("filopodia"))
    described_as = Restored(*origin, rows, len(blob_sizes), sum(blob_sizes.values()), missing)
    return CheckedBackup(path, head, described_as, list(blob_sizes))


def _parse_head(head: dict[str, Any]) -> dict[str, Any]:
    version = head.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise BackupError(
            f"The backup has format {version}, this release reads {FORMAT_VERSION}: restore it with a later release."
        )
    if not schema.is_known(str(head.get("revision"))):
        raise BackupError(
            f"The backup is of schema revision {head.get('revision')}, which this release does not know: restore it "
            f"with filopodia {head.get('filopodia')} or later."
        )
    tables = head.get("tables")
    is_right = isinstance(tables, dict) and all(
        isinstance(described, dict)
        and isinstance(described.get("rows"), int)
        and isinstance(described.get("columns"), list)
        for described in tables.values()
    )
    if not is_right:
        raise BackupDamagedError(f"{HEAD} in the backup is not one of ours.")
    return head


@contextmanager
def _sole_restore(engine: Engine) -> Iterator[None]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.scalar(select(func.pg_try_advisory_lock(RESTORE_LOCK))):
            raise RestoreRefusedError("Another restore into this database is under way.")
        # Given back with the connection.
        yield


def _require_unused(engine: Engine) -> None:
    """Check that nobody goes on from rows that are about to be replaced: versions in memory, attempts under way."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name LIKE 'filopodia-%'"
    )
    with engine.connect() as connection:
        if connection.scalar(query):
            raise RestoreRefusedError(
                "A service or worker uses this database: stop them all, restore, and start them again."
            )


def _require_empty(engine: Engine) -> None:
    with engine.connect() as connection:
        if n_learners := connection.scalar(select(func.count()).select_from(LearnerRow)):
            raise RestoreRefusedError(
                f"There are {n_learners} learners here already: restore into an empty installation, or let "
                "--replace remove everything that is here first."
            )


@contextmanager
def _scratch(engine: Engine, url: str, head: dict[str, Any]) -> Iterator[str]:
    """Make the schema that rows are prepared in, at the backup's revision, and return a URL that leads to it."""
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA IF EXISTS {SCRATCH} CASCADE"))
        connection.execute(text(f"CREATE SCHEMA {SCRATCH}"))
    try:
        target = make_url(url)
        options = " ".join([str(target.query.get("options", "")), f"-c search_path={SCRATCH}"])
        scratch_url = target.update_query_dict({"options": options.strip()}).render_as_string(
            hide_password=False
        )
        command.upgrade(alembic_config(scratch_url), str(head["revision"]))
        yield scratch_url
    finally:
        with engine.begin() as connection:
            connection.execute(text(f"DROP SCHEMA IF EXISTS {SCRATCH} CASCADE"))


def _load_backup(
    engine: Engine, blobs: BlobStore, reader: BackupReader, backup: CheckedBackup
) -> None:
    """Copy the rows into the scratch schema and put the blobs."""
    present = set(backup.hashes) - blobs.missing(backup.hashes)
    with engine.begin() as connection:
        set_text_format(connection)
        blobs.put_many(_rows_then_blobs(connection, blobs, reader, backup.head, present))
        reader.check()


def _rows_then_blobs(
    connection: Connection,
    blobs: BlobStore,
    reader: BackupReader,
    head: dict[str, Any],
    present: set[str],
) -> Iterator[bytes]:
    """Copy the tables as they come, which is before the blobs, and yield these."""
    for member in reader.members():
        if member.name.startswith("tables/"):
            _copy_in(connection, member, head["tables"][_table_of(member)])
        elif member.name.startswith("blobs/"):
            data = member.read()
            sha256 = _hash_of(member)
            if hashlib.sha256(data).hexdigest() != sha256:
                raise BackupDamagedError(f"The backup is damaged: {member.name} has changed.")
            if sha256 in present:
                _remove_damaged(blobs, sha256)
            yield data


def _copy_in(connection: Connection, member: Member, described: dict[str, Any]) -> None:
    name = _table_of(member)
    known = {column["name"] for column in inspect(connection).get_columns(name, schema=SCRATCH)}
    columns = [str(column) for column in described["columns"]]
    if set(columns) != known:
        raise BackupDamagedError(f"The backup's table {name} has other columns than it should.")
    query = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(SCRATCH, name), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    try:
        with driver_connection(connection).cursor() as cursor:
            with cursor.copy(query) as copy:
                for chunk in member.chunks():
                    copy.write(chunk)
            n_rows = cursor.rowcount
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise BackupDamagedError(f"The backup's table {name} cannot be read: {error}") from error
    if n_rows != described["rows"]:
        raise BackupDamagedError(
            f"The backup's table {name} has {n_rows} rows, not as many as it says."
        )


def _remove_damaged(blobs: BlobStore, sha256: str) -> None:
    """Remove a damaged blob, which a put would take for the right one."""
    try:
        blobs.get(sha256)
    except BlobDamagedError:
        blobs.delete(sha256)
    except BlobMissingError:
        return


def _switch(engine: Engine, created_at: str, *, replace_all: bool) -> int:
    """Put the prepared rows in the place of all others, and return how many tasks are queued again.

    The audit log is the backup's from then on, and says that it was restored.
    """
    with engine.begin() as connection:
        set_text_format(connection)
        connection.execute(text("SET LOCAL lock_timeout = '10s'"))
        # Messages are in no backup, and those that wait here tell of what is gone then.
        names = [*(table.name for table in TABLES), DeliveryRow.__tablename__]
        connection.execute(text(f"LOCK TABLE {', '.join(names)} IN ACCESS EXCLUSIVE MODE"))
        if not replace_all and connection.scalar(select(func.count()).select_from(LearnerRow)):
            raise RestoreRefusedError("A learner was created meanwhile: nothing was restored.")
        highest_token = connection.scalar(select(func.max(TaskRow.token))) or 0
        connection.execute(text(f"TRUNCATE {', '.join(names)}"))
        for table in TABLES:
            columns = ", ".join(f'"{column.name}"' for column in table.columns)
            copied = f"SELECT {columns} FROM {SCRATCH}.{table.name}"
            connection.execute(text(f"INSERT INTO {table.name} ({columns}) {copied}"))
        for name in ("events", "audit"):
            following = f"(SELECT coalesce(max(seq), 0) + 1 FROM {name})"
            sequence = f"pg_get_serial_sequence('{name}', 'seq')"
            connection.execute(text(f"SELECT setval({sequence}, {following}, false)"))
        with Session(connection) as session:
            n_requeued = _release_tasks(session, highest_token + 1)
            audit.record(session, None, "installation.restore", subject=created_at)
            session.commit()
        return n_requeued


def _release_tasks(session: Session, step: int) -> int:
    """Take the tasks from the workers that held them, and make all tokens new.

    Tokens rise above those of the installation that was replaced, so that an attempt of it never passes for a new one.
    """
    held = select(TaskRow).where(TaskRow.status.in_(WITH_WORKER)).with_for_update()
    tasks = list(session.scalars(held))
    for task in tasks:
        queue.give_back(session, task.id, task.token)
        task.worker_id = None
    session.flush()
    session.execute(
        update(TaskRow)
        .where(TaskRow.status.in_(PENDING))
        .values(token=TaskRow.token + step, rung_at=None)
        .execution_options(synchronize_session=False)
    )
    idempotency.abandon_unfinished(session)
    return sum(task.status == TaskStatus.QUEUED for task in tasks)


def _table_of(member: Member) -> str:
    return member.name.removeprefix("tables/").removesuffix(".copy")


def _hash_of(member: Member) -> str:
    return member.name.removeprefix("blobs/")
