"""Collection of blobs that nothing refers to any more, and of what cut-off writes left behind.

An upload stores its blobs first and names them in a row later, and so does a learn process. What keeps collection off
them:

- a blob counts as new when it is put, also when it was there already; only blobs older than a grace time are looked at,
  and their time is looked at again just before they are deleted;
- rows are asked after the blobs were listed, under the lock that `registry.samples` takes to add rows that name blobs.
"""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, func, select
from sqlalchemy.orm import Session, sessionmaker

from registry import references
from registry.blobs.store import BlobInfo, BlobStore
from registry.failpoints import failpoint
from registry.references import ArtifactFiles
from registry.samples import BLOBS_LOCK

GRACE = timedelta(hours=24)
"""Age below which a blob is left alone: far longer than from storing a blob to the row that names it."""
COLLECTION_LOCK = 0xF110_C011
"""Key of the advisory lock: exclusive for who collects, shared for who must not lose a blob meanwhile."""
LOOKED_AT, DELETED = 1000, 64
"""Blobs that rows are asked about at a time, and of these deleted under one lock: an upload may wait that long."""
TRIES, TRY_AGAIN_S = 20, 0.1
"""For the lock while uploads hold it; a batch that does not get it is left for the next collection."""


@dataclass(frozen=True)
class Collected:
    """What a collection has deleted."""

    n_blobs: int = 0
    size_bytes: int = 0
    """Leftovers of cut-off writes included."""


def collect(
    session_factory: sessionmaker[Session], blobs: BlobStore, *, grace: timedelta = GRACE
) -> Collected:
    """Delete unreferenced blobs and leftovers older than `grace`. Does nothing while another collects or backs up.

    Blocks as long as it takes to list the store. Safe beside uploads and learning.

    Raises:
        BlobMissingError: If the manifest of a version is missing, so that nobody can say what it needs. Nothing is
            deleted then.
        BlobDamagedError: If one is damaged; likewise.
    """
    older_than = datetime.now(UTC) - grace
    with _only_one(session_factory) as is_ours:
        if not is_ours:
            return Collected()
        files = ArtifactFiles(blobs)
        with session_factory() as session:
            known = references.manifests(session)
        files.of_all(known)
        old = (info for info in blobs.listing() if info.modified < older_than)
        discarded: list[BlobInfo] = []
        while batch := [info.sha256 for info in itertools.islice(old, LOOKED_AT)]:
            with session_factory() as session:
                spare = set(batch) - references.referenced_among(session, batch, files)
            for hashes in _cut(sorted(spare), DELETED):
                discarded += _delete(session_factory, blobs, files, hashes, older_than)
        leftovers = blobs.discard_leftovers(older_than=older_than)
    size_bytes = sum(info.size for info in discarded) + sum(leftovers)
    return Collected(len(discarded), size_bytes)


@contextmanager
def no_collection(connection: Connection) -> Iterator[None]:
    """Keep collection off until the end of the block; waits for one under way. In the connection's transaction mode."""
    connection.execute(select(func.pg_advisory_lock_shared(COLLECTION_LOCK)))
    try:
        yield
    finally:
        connection.execute(select(func.pg_advisory_unlock_shared(COLLECTION_LOCK)))


def _delete(
    session_factory: sessionmaker[Session],
    blobs: BlobStore,
    files: ArtifactFiles,
    hashes: list[str],
    older_than: datetime,
) -> list[BlobInfo]:
    """Delete blobs if still nothing refers to them, now that no row can be added that does."""
    for _ in range(TRIES):
        with session_factory.begin() as session:
            # Tried, not waited for: uploads would queue up behind a lock that waits.
            if session.scalar(select(func.pg_try_advisory_xact_lock(BLOBS_LOCK))):
                referenced = references.referenced_among(session, hashes, files)
                failpoint("collect.before_delete")
                spare = [sha256 for sha256 in hashes if sha256 not in referenced]
                return blobs.discard(spare, older_than=older_than)
        time.sleep(TRY_AGAIN_S)
    return []


def _cut(hashes: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(hashes), size):
        yield hashes[start : start + size]


@contextmanager
def _only_one(session_factory: sessionmaker[Session]) -> Iterator[bool]:
    """Say whether this process may collect, and keep others off until the end of the block."""
    with session_factory() as session:
        # The lock belongs to the connection, not to a transaction, which must not stay open for minutes.
        connection = session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        is_ours = connection.scalar(select(func.pg_try_advisory_lock(COLLECTION_LOCK)))
        try:
            yield bool(is_ours)
        finally:
            if is_ours:
                connection.execute(select(func.pg_advisory_unlock(COLLECTION_LOCK)))
