"""Samples: the uploaded images of tasks, as rows that name blobs.

A blob may serve several samples. Deleting one and adding another that names it must not cross, so both take an advisory
lock: shared to add, exclusive to delete.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session, sessionmaker

from registry.blobs.store import BlobStore
from registry.errors import BlobMissingError, LearnerBusyError, SampleNotFoundError
from registry.ids import new_id
from registry.paging import Page, decode_number, page_of
from registry.references import addressed
from registry.statuses import UNFINISHED
from registry.tables import SampleRow, TaskRow
from registry.tasks import get_task

BLOBS_LOCK = 0xF110_B10B
"""Key of the advisory lock on the samples' blobs."""


@dataclass(frozen=True)
class StoredImage:
    """The image of a sample."""

    png: bytes
    sha256: str
    label: str


@dataclass(frozen=True)
class NewSample:
    """An image to be added. Its blob lies in the store already."""

    label: str
    split: str
    """`train` or `eval`."""
    blob_sha256: str
    filename: str | None
    width: int
    height: int
    quarantine: str | None = None
    """Why it is kept but not used; None for one that is used."""
    source_sha256: str | None = None
    """The file as it was sent; None for an image of feedback."""


def add_samples(
    session: Session, task_id: str, samples: Sequence[NewSample], blobs: BlobStore
) -> None:
    """Add the samples of a task, in order, in the transaction that adds the task.

    Raises:
        BlobMissingError: If a blob is not, or no longer, in the store. Put it again and repeat.
    """
    keep_blobs(session)
    for sha256 in blobs.missing({sample.blob_sha256 for sample in samples}):
        raise BlobMissingError(sha256)
    rows = [
        {
            "id": new_id("smp"),
            "task_id": task_id,
            "position": position,
            "label": sample.label,
            "split": sample.split,
            "blob_sha256": sample.blob_sha256,
            "source_sha256": sample.source_sha256,
            "filename": sample.filename,
            "quarantine": sample.quarantine,
            "width": sample.width,
            "height": sample.height,
        }
        for position, sample in enumerate(samples)
    ]
    if rows:
        session.execute(insert(SampleRow), rows)


def keep_blobs(session: Session) -> None:
    """Keep every blob from being deleted until the transaction ends, while it adds rows that refer to some."""
    session.execute(select(func.pg_advisory_xact_lock_shared(BLOBS_LOCK)))


def list_samples(
    session: Session,
    task_id: str,
    *,
    split: str | None = None,
    label: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[SampleRow]:
    """Return a page of a task's samples in the order they were sent.

    Raises:
        InvalidCursorError: If the cursor is not one of ours.
    """
    query = select(SampleRow).where(SampleRow.task_id == task_id).order_by(SampleRow.position)
    if split is not None:
        query = query.where(SampleRow.split == split)
    if label is not None:
        query = query.where(SampleRow.label == label)
    if cursor is not None:
        query = query.where(SampleRow.position > decode_number(cursor))
    rows = list(session.scalars(query.limit(limit + 1)))
    return page_of(rows, limit, lambda sample: (str(sample.position),))


def get_sample(session: Session, sample_id: str) -> SampleRow:
    """Return a sample.

    Raises:
        SampleNotFoundError: If there is none with this id, or it was deleted.
    """
    sample = session.get(SampleRow, sample_id)
    if sample is None:
        raise SampleNotFoundError(sample_id)
    return sample


def read_image(sessions: sessionmaker[Session], blobs: BlobStore, sample_id: str) -> StoredImage:
    """Read the image of a sample.

    Raises:
        SampleNotFoundError: If there is none with this id, it was deleted, or its image is gone from the store.
    """
    with sessions() as session:
        sample = get_sample(session, sample_id)
    try:
        return StoredImage(blobs.get(sample.blob_sha256), sample.blob_sha256, sample.label)
    except BlobMissingError as error:
        raise SampleNotFoundError(sample_id) from error


def task_samples(session: Session, task_id: str, split: str) -> list[SampleRow]:
    """Return the samples of one split of a task in the order they were sent, without those in quarantine."""
    query = select(SampleRow).where(
        SampleRow.task_id == task_id, SampleRow.split == split, SampleRow.quarantine.is_(None)
    )
    return list(session.scalars(query.order_by(SampleRow.position)))


def eval_samples_by_task(
    session: Session, learner_id: str, task_indexes: Iterable[int]
) -> dict[int, list[SampleRow]]:
    """Return the held-out samples of some of a learner's tasks, by task index. Tasks without any are left out."""
    return _samples_by_task(session, learner_id, task_indexes, "eval")


def train_samples_by_task(
    session: Session, learner_id: str, task_indexes: Iterable[int]
) -> dict[int, list[SampleRow]]:
    """Return the training samples of some of a learner's tasks, by task index. Tasks without any are left out."""
    return _samples_by_task(session, learner_id, task_indexes, "train")


def samples_of_classes(
    session: Session,
    learner_id: str,
    task_indexes: Iterable[int],
    labels: Iterable[str],
    *,
    per_class: int,
) -> list[SampleRow]:
    """Return samples of some classes of a learner's tasks, the latest of each class, whatever their split."""
    rank = func.row_number().over(
        partition_by=SampleRow.label, order_by=(TaskRow.index.desc(), SampleRow.position)
    )
    ranked = (
        select(SampleRow.id, rank.label("rank"))
        .join(TaskRow, TaskRow.id == SampleRow.task_id)
        .where(
            TaskRow.learner_id == learner_id,
            TaskRow.index.in_(list(task_indexes)),
            SampleRow.label.in_(list(labels)),
            SampleRow.quarantine.is_(None),
        )
        .subquery()
    )
    query = select(SampleRow).join(ranked, ranked.c.id == SampleRow.id)
    query = query.where(ranked.c.rank <= per_class).order_by(SampleRow.label, ranked.c.rank)
    return list(session.scalars(query))


def _samples_by_task(
    session: Session, learner_id: str, task_indexes: Iterable[int], split: str
) -> dict[int, list[SampleRow]]:
    query = (
        select(TaskRow.index, SampleRow)
        .join(TaskRow, TaskRow.id == SampleRow.task_id)
        .where(
            TaskRow.learner_id == learner_id,
            TaskRow.index.in_(list(task_indexes)),
            SampleRow.split == split,
            SampleRow.quarantine.is_(None),
        )
        .order_by(TaskRow.index, SampleRow.position)
    )
    samples: dict[int, list[SampleRow]] = {}
    for index, sample in session.execute(query):
        samples.setdefault(index, []).append(sample)
    return samples


def drop_samples(session: Session, task_id: str) -> list[str]:
    """Remove all samples of a task, and what was kept of their features, and return the blobs the samples named.

    After the commit, hand those to `delete_unreferenced` in a transaction of its own. Learning and predicting go on
    unharmed; the task can neither be retried nor evaluated again.

    Raises:
        TaskNotFoundError: If there is no task with this id.
        LearnerBusyError: If the task waits or runs, so that its images are still needed.
    """
    task = get_task(session, task_id, lock=True)
    if task.status in UNFINISHED:
        raise LearnerBusyError
    task.held_out_features = None
    statement = delete(SampleRow).where(SampleRow.task_id == task_id)
    return sorted(set(session.scalars(statement.returning(SampleRow.blob_sha256))))


def delete_unreferenced(session: Session, blobs: BlobStore, hashes: Sequence[str]) -> int:
    """Delete those of some image blobs that no row names any more, and return how many."""
    session.execute(select(func.pg_advisory_xact_lock(BLOBS_LOCK)))
    unreferenced = set(hashes) - addressed(session, hashes)
    for sha256 in unreferenced:
        blobs.delete(sha256)
    return len(unreferenced)
