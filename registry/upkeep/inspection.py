"""What `filopodia doctor` looks at: database, rows, blobs, disk, Redis, workers. Changes nothing."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

import redis
from sqlalchemy import Connection, and_, exists, func, or_, select, text
from sqlalchemy.orm import Session

from registry import references, workers
from registry.blobs.store import BlobStore, LocalBlobStore
from registry.errors import (
    BlobDamagedError,
    BlobMissingError,
    BlobStoreUnavailableError,
    DatabaseUnavailableError,
)
from registry.postgres import schema
from registry.references import ArtifactFiles
from registry.statuses import LEARNED, WITH_WORKER, TaskStatus
from registry.tables import IMPORTED, AliasRow, LearnerRow, TaskRow, VersionRow
from registry.upkeep.backup import plain_engine
from registry.upkeep.collection import GRACE

DEEP_BELOW_BYTES = 1 << 30
"""Referenced blobs of less than this are read and hashed unless told otherwise: that takes seconds."""
OLDEST_SERVER = 140000
"""PostgreSQL 14, the oldest that still gets corrections."""
STUCK_AFTER = timedelta(minutes=5)
"""A task whose lease ran out, or that waits for a worker, for longer than this is stuck: either takes seconds."""
REDIS_TIMEOUT_S = 3.0
SCHEMA = "migrations"
"""Name of the check that all others of rows depend on."""
NAMED = 3
"""Learners, tasks or blobs named in one sentence."""

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """One line of the doctor's answer."""

    name: str
    state: State
    detail: str
    """One sentence."""


def inspect_installation(
    url: str,
    blobs: BlobStore,
    *,
    data_dir: Path,
    min_free_bytes: int,
    redis_url: str | None,
    is_deep: bool | None = None,
) -> Iterator[Check]:
    """Check an installation, and yield each result as soon as it is there.

    Works beside a service and workers, and without them.

    Args:
        url: Of the database.
        blobs: The blob store.
        data_dir: Folder whose disk must have space.
        min_free_bytes: Free space below which uploads are refused.
        redis_url: Where Redis is; None if there is none.
        is_deep: Whether to read and hash every referenced blob; None: if they are few.
    """
    try:
        with plain_engine(url, "filopodia doctor") as engine:
            # One snapshot, or tasks that end meanwhile would seem to disagree with their versions.
            connection = engine.connect().execution_options(isolation_level="REPEATABLE READ")
            with connection, Session(connection) as session:
                checks = list(inspect_rows(session))
                yield from checks
                session.rollback()
                if SCHEMA in {check.name for check in checks if check.state == "ok"}:
                    yield from _check_blobs(session, blobs, is_deep)
    except DatabaseUnavailableError as error:
        yield Check("database", "fail", f"The database does not answer: {error.__cause__}".strip())
    except BlobStoreUnavailableError as error:
        yield Check("blobs", "fail", f"The blob store does not answer: {error.reason}")
    yield from _check_disks(blobs, data_dir, min_free_bytes)
    if redis_url is not None:
        yield _check_redis(redis_url)


def inspect_rows(session: Session) -> Iterator[Check]:
    """Check the database and what its rows say, without the blobs. Rows of another schema are not looked at."""
    yield _check_server(session.connection())
    schema_check = _check_schema(session.connection())
    yield schema_check
    if schema_check.state == "ok":
        for check in ROW_CHECKS:
            yield check(session)


def _check_server(connection: Connection) -> Check:
    number = int(connection.scalar(text("SHOW server_version_num")) or 0)
    version = connection.scalar(text("SHOW server_version"))
    unsafe = [
        name
        for name in ("fsync", "full_page_writes", "synchronous_commit")
        if connection.scalar(text(f"SHOW {name}")) == "off"
    ]
    if unsafe:
        detail = (
            f"PostgreSQL {version} has {', '.join(unsafe)} off: a power cut can lose what was acknowledged; "
            "turn it on."
        )
        return Check("database", "warn", detail)
    if number < OLDEST_SERVER:
        return Check("database", "warn", f"PostgreSQL {version} answers, but is out of support.")
    return Check("database", "ok", f"PostgreSQL {version} answers.")


def _check_schema(connection: Connection) -> Check:
    current, wanted = schema.revision(connection), schema.head_revision()
    if current == wanted:
        return Check(SCHEMA, "ok", f"The schema has revision {current}, as it should.")
    if current is not None and not schema.is_known(current):
        detail = f"The schema has revision {current} of a later release than this one: use that."
    else:
        detail = f"The schema has revision {current}, not {wanted}: run filopodia migrate."
    return Check(SCHEMA, "fail", detail)


def _check_versions(session: Session) -> Check:
    """Versions are numbered 1..n in each learner, and the head is none that does not exist."""
    numbers = (
        select(
            VersionRow.learner_id,
            func.count().label("n"),
            func.max(VersionRow.number).label("last"),
            func.min(VersionRow.number).label("first"),
        )
        .group_by(VersionRow.learner_id)
        .subquery()
    )
    has_gap = or_(numbers.c.first != 1, numbers.c.last != numbers.c.n)
    has_wrong_head = or_(
        LearnerRow.head_version > func.coalesce(numbers.c.last, 0), LearnerRow.head_version < 0
    )
    query = (
        select(LearnerRow.name)
        .outerjoin(numbers, numbers.c.learner_id == LearnerRow.id)
        .where(or_(has_gap, has_wrong_head))
    )
    wrong = list(session.scalars(query.order_by(LearnerRow.name)))
    total = session.scalar(select(func.count()).select_from(VersionRow))
    if wrong:
        detail = f"Learner {_named(wrong)}: versions are missing, or the head names none."
        return Check("versions", "fail", detail)
    return Check("versions", "ok", f"{total} versions, numbered without gaps.")


def _check_aliases(session: Session) -> Check:
    is_there = exists().where(
        VersionRow.learner_id == AliasRow.learner_id,
        VersionRow.number == AliasRow.version,
        VersionRow.erased_at.is_(None),
    )
    query = (
        select(LearnerRow.name, AliasRow.name, AliasRow.version)
        .join(LearnerRow, LearnerRow.id == AliasRow.learner_id)
        .where(~is_there)
    )
    wrong = [f"{learner}@{name} -> {number}" for learner, name, number in session.execute(query)]
    if wrong:
        return Check("aliases", "fail", f"No such version, or it was erased: {_named(wrong)}.")
    return Check("aliases", "ok", "Every alias names a version that is there.")


def _check_results(session: Session) -> Check:
    """Each task has the version that its status says: a succeeded or superseded one its own, any other none."""
    query = (
        select(TaskRow.id)
        .outerjoin(VersionRow, VersionRow.task_id == TaskRow.id)
        .where(
            # Those of an imported learner share its first version, which names the newest.
            TaskRow.mode != IMPORTED,
            or_(
                and_(TaskRow.status.in_(LEARNED), VersionRow.number.is_(None)),
                and_(TaskRow.status.not_in(LEARNED), VersionRow.number.is_not(None)),
                TaskRow.version.is_distinct_from(VersionRow.number),
            ),
        )
        .order_by(TaskRow.id)
    )
    if wrong := list(session.scalars(query)):
        return Check("tasks", "fail", f"Status and version of task {_named(wrong)} disagree.")
    total = session.scalar(select(func.count()).select_from(TaskRow))
    return Check("tasks", "ok", f"{total} tasks; those that succeeded have one version each.")


def _check_stuck(session: Session) -> Check:
    lost = and_(TaskRow.status.in_(WITH_WORKER), TaskRow.lease_until < func.now() - STUCK_AFTER)
    leaseless = and_(TaskRow.status.in_(WITH_WORKER), TaskRow.lease_until.is_(None))
    query = select(TaskRow.id).where(or_(lost, leaseless)).order_by(TaskRow.id)
    if stuck := list(session.scalars(query)):
        detail = f"Task {_named(stuck)} runs without a worker: start one, which takes it over."
        return Check("running tasks", "warn", detail)
    running = session.scalar(
        select(func.count()).select_from(TaskRow).where(TaskRow.status.in_(WITH_WORKER))
    )
    return Check("running tasks", "ok", f"{running} running, none of them stuck.")


def _check_workers(session: Session) -> Check:
    seen = workers.list_workers(session)
    alive = [worker.row.id for worker in seen if worker.state in ("idle", "learning")]
    waiting = session.scalar(
        select(func.count())
        .select_from(TaskRow)
        .where(
            TaskRow.status == TaskStatus.QUEUED,
            func.coalesce(TaskRow.not_before, TaskRow.created_at) < func.now() - STUCK_AFTER,
        )
    )
    if alive:
        return Check("workers", "ok", f"Alive: {_named(alive)}.")
    if waiting:
        detail = f"No worker is alive, and {waiting} tasks wait: start the service or a worker."
        return Check("workers", "warn", detail)
    return Check("workers", "ok", "No worker is alive, and no task waits long for one.")


ROW_CHECKS: tuple[Callable[[Session], Check], ...] = (
    _check_versions,
    _check_aliases,
    _check_results,
    _check_stuck,
    _check_workers,
)


def _check_blobs(session: Session, blobs: BlobStore, is_deep: bool | None) -> Iterator[Check]:
    files = ArtifactFiles(blobs)
    wanted = references.addressed(session)
    manifests = references.manifests(session)
    session.rollback()
    artifacts, broken = _read_manifests(files, manifests)
    wanted |= set(artifacts)
    stored = {info.sha256: info for info in blobs.listing()}
    # A listing may miss what came or went meanwhile: only what is still missing is.
    missing = blobs.missing(wanted - stored.keys())
    there = wanted - missing
    size_bytes = sum(stored[sha256].size for sha256 in there & stored.keys())
    if is_deep is None:
        is_deep = size_bytes < DEEP_BELOW_BYTES
    damaged = _damaged(blobs, there) if is_deep else set()
    wrong_size = {
        sha256
        for sha256, size in artifacts.items()
        if sha256 in stored and stored[sha256].size != size
    }
    broken |= (missing | damaged | wrong_size) & set(artifacts)
    # An image deleted since we asked is no loss.
    with_rows = references.addressed(session, missing | damaged) | set(artifacts)
    session.rollback()
    yield _blobs_check(there, size_bytes, missing & with_rows, damaged & with_rows, is_deep)
    yield _artifacts_check(len(manifests), broken)
    spare = [info for sha256, info in stored.items() if sha256 not in wanted]
    yield Check(
        "unreferenced blobs",
        "ok",
        f"{len(spare)} blobs of {megabytes(sum(info.size for info in spare))} that nothing refers to; those older "
        f"than {GRACE.total_seconds() / 3600:.0f} h go with --collect.",
    )


def _read_manifests(files: ArtifactFiles, manifests: set[str]) -> tuple[dict[str, int], set[str]]:
    """Return what all manifests name, with sizes, and the manifests that cannot be read."""
    named: dict[str, int] = {}
    broken: set[str] = set()
    for manifest in manifests:
        try:
            named |= files.of(manifest)
        except (BlobMissingError, BlobDamagedError):
            broken.add(manifest)
    return named, broken


def _damaged(blobs: BlobStore, hashes: Iterable[str]) -> set[str]:
    damaged: set[str] = set()
    for sha256 in hashes:
        try:
            blobs.get(sha256)
        except BlobDamagedError:
            damaged.add(sha256)
        except BlobMissingError:
            continue
    return damaged


def _blobs_check(
    there: set[str], size_bytes: int, missing: set[str], damaged: set[str], is_deep: bool
) -> Check:
    if missing or damaged:
        detail = (
            f"{len(missing)} blobs are missing and {len(damaged)} damaged ({_named(missing | damaged)}): "
            "restore a backup."
        )
        return Check("blobs", "fail", detail)
    how = "there and whole" if is_deep else "there, their bytes not read (--deep reads them)"
    return Check("blobs", "ok", f"{len(there)} blobs of {megabytes(size_bytes)}, all {how}.")


def _artifacts_check(n_versions: int, broken: set[str]) -> Check:
    if broken:
        detail = f"Files of versions are missing or damaged ({_named(broken)}): restore a backup."
        return Check("artifacts", "fail", detail)
    return Check("artifacts", "ok", f"The artifacts of {n_versions} versions have all their files.")


def _check_disks(blobs: BlobStore, data_dir: Path, min_free_bytes: int) -> Iterator[Check]:
    folders = {"data": data_dir}
    if isinstance(blobs, LocalBlobStore):
        folders["blobs"] = blobs.root
    seen: set[int] = set()
    for name, folder in folders.items():
        while not folder.exists():
            folder = folder.parent
        if (device := folder.stat().st_dev) in seen:
            continue
        seen.add(device)
        free = shutil.disk_usage(folder).free
        detail = f"{megabytes(free)} free, {megabytes(min_free_bytes)} are kept free."
        state: State = "ok" if free >= 2 * min_free_bytes else "warn"
        if free < min_free_bytes:
            state, detail = "fail", f"{detail} Uploads are refused: free some space."
        yield Check(f"disk of {name}", state, detail)


def _check_redis(redis_url: str) -> Check:
    client = redis.Redis.from_url(
        redis_url, socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S
    )
    try:
        with client:
            client.ping()
    except redis.RedisError as error:
        detail = f"Redis does not answer ({error}): tasks are taken up late, and none is lost."
        return Check("redis", "fail", detail)
    return Check("redis", "ok", "Redis answers.")


def megabytes(size_bytes: int) -> str:
    """Format a size.

    Example:
        >>> megabytes(1_250_000)
        '1.2 MB'
    """
    return f"{size_bytes / 1e6:.1f} MB"


def _named(names: Iterable[str]) -> str:
    listed = sorted(names)
    rest = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return ", ".join(listed[:NAMED]) + rest
