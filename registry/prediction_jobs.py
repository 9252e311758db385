"""Prediction jobs: many images predicted behind the requests' backs, all of a job by one version.

The rows are the queue. A service claims a few images of one job, answers them and gives the job back, so that jobs take
turns and several services may work at once. What a killed service had is claimed again when its lease has run out.
What was answered stays answered.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, insert, or_, select, update
from sqlalchemy.orm import Session

from registry import reviews
from registry.blobs.store import BlobStore
from registry.errors import (
    BlobMissingError,
    FencedError,
    NothingToPredictError,
    PredictionJobEndedError,
    PredictionJobImageNotFoundError,
    PredictionJobNotFoundError,
)
from registry.ids import new_id
from registry.paging import Page, decode_cursor, decode_number, page_of
from registry.reviews import Key, Look
from registry.samples import keep_blobs
from registry.statuses import UNFINISHED, TaskStatus
from registry.stored_images import NewJobImage
from registry.tables import (
    LearnerRow,
    PredictionImageRow,
    PredictionJobImageRow,
    PredictionJobRow,
    SampleRow,
)

IMAGE_GONE = {"code": "image-gone", "detail": "The image was deleted before it was predicted."}
"""Problem of a stored image that was there when the job was posted."""
MAX_LOST = 3
GIVEN_UP = {
    "code": "service-lost",
    "detail": f"The service that predicted its images ended {MAX_LOST} times in a row without a word.",
}
"""Error of a job that is given up."""


@dataclass(frozen=True)
class ClaimedJob:
    """A job some of whose images the caller may answer now, and the token that proves it."""

    id: str
    learner: str
    learner_id: str
    version: int
    top_k: int
    trace: str
    key_id: str | None
    """The key that posted it."""
    n_waiting: int
    """Images without an answer."""
    token: int


@dataclass(frozen=True)
class WaitingImage:
    """An image that is to be answered."""

    index: int
    name: str
    blob_sha256: str | None
    """The canonical image; None where it is gone."""
    before: Mapping[str, Any] | None


@dataclass(frozen=True)
class JobAnswer:
    """What an image came to."""

    index: int
    result: Mapping[str, Any]
    """The answer with its `label` and `known`, or `{problem}`."""
    look: Look | None = None
    """How the image looks, if that was found out."""


def add_job(
    session: Session,
    learner: LearnerRow,
    images: Sequence[NewJobImage],
    *,
    version: int,
    source: str,
    query: Mapping[str, Any],
    top_k: int,
    trace: str,
    key_id: str | None,
    blobs: BlobStore,
) -> PredictionJobRow:
    """Queue a job with its images, in order.

    Raises:
        NothingToPredictError: If there is no image.
        BlobMissingError: If a blob is not, or no longer, in the store. Put it again and repeat.
    """
    if not images:
        raise NothingToPredictError
    keep_blobs(session)
    for sha256 in blobs.missing({image.blob_sha256 for image in images if image.blob_sha256}):
        raise BlobMissingError(sha256)
    n_problems = sum(image.problem is not None for image in images)
    job = PredictionJobRow(
        id=new_id("job"),
        learner_id=learner.id,
        version=version,
        source=source,
        query=dict(query),
        top_k=top_k,
        trace=trace,
        n_images=len(images),
        n_done=n_problems,
        n_problems=n_problems,
        n_unknown=0,
        n_changed=0,
        status=TaskStatus.QUEUED,
        token=0,
        n_lost=0,
        key_id=key_id,
    )
    session.add(job)
    session.flush()
    rows = [
        {
            "job_id": job.id,
            "index": index,
            "name": image.name,
            "blob_sha256": image.blob_sha256,
            "prediction_id": image.prediction_id,
            "prediction_index": image.prediction_index,
            "sample_id": image.sample_id,
            "before": None if image.before is None else dict(image.before),
            "result": None if image.problem is None else {"problem": dict(image.problem)},
        }
        for index, image in enumerate(images)
    ]
    session.execute(insert(PredictionJobImageRow), rows)
    return job


def get_job(session: Session, job_id: str, *, lock: bool = False) -> PredictionJobRow:
    """Return a job.

    Raises:
        PredictionJobNotFoundError: If there is none with this id.
    """
    query = select(PredictionJobRow).where(PredictionJobRow.id == job_id)
    job = session.scalars(query.with_for_update() if lock else query).one_or_none()
    if job is None:
        raise PredictionJobNotFoundError(job_id)
    return job


def list_jobs(
    session: Session, learner_id: str, *, limit: int = 50, cursor: str | None = None
) -> Page[PredictionJobRow]:
    """Return a page of a learner's jobs, newest first.

    Raises:
        InvalidCursorError: If the cursor is not one of ours.
    """
    query = select(PredictionJobRow).where(PredictionJobRow.learner_id == learner_id)
    if cursor is not None:
        # Ids sort by the time they were made.
        query = query.where(PredictionJobRow.id < decode_cursor(cursor, 1)[0])
    rows = session.scalars(query.order_by(PredictionJobRow.id.desc()).limit(limit + 1))
    return page_of(list(rows), limit, lambda job: (job.id,))


def count_unfinished(session: Session, key_id: str) -> int:
    """Return how many jobs of a key wait or run."""
    query = select(func.count()).select_from(PredictionJobRow)
    query = query.where(PredictionJobRow.key_id == key_id, _moves())
    return session.scalars(query).one()


def claim_next(session: Session, lease_s: float) -> ClaimedJob | None:
    """Take the job whose turn it is, or None if none waits that nobody has.

    Several services may call this at once. Commit before the images are answered. A job whose services were lost
    `MAX_LOST` times in a row fails instead, so that one that kills them does not do so for ever.
    """
    while (job := _next_in_turn(session)) is not None:
        if job.lease_until is not None:
            job.n_lost += 1
        if job.n_lost < MAX_LOST:
            return _take(session, job, lease_s)
        job.error = dict(GIVEN_UP)
        _end(job, TaskStatus.FAILED)
        session.flush()
    return None


def _next_in_turn(session: Session) -> PredictionJobRow | None:
    query = (
        select(PredictionJobRow)
        .where(
            _moves(),
            or_(PredictionJobRow.lease_until.is_(None), PredictionJobRow.lease_until <= func.now()),
        )
        .order_by(PredictionJobRow.served_at.asc().nulls_first(), PredictionJobRow.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return session.scalars(query).one_or_none()


def _take(session: Session, job: PredictionJobRow, lease_s: float) -> ClaimedJob:
    job.status = TaskStatus.RUNNING
    job.token += 1
    job.lease_until = func.now() + timedelta(seconds=lease_s)
    job.started_at = func.now() if job.started_at is None else job.started_at
    session.flush()
    learner = session.get_one(LearnerRow, job.learner_id)
    return ClaimedJob(
        job.id,
        learner.name,
        learner.id,
        job.version,
        job.top_k,
        job.trace,
        job.key_id,
        job.n_images - job.n_done,
        job.token,
    )


def renew(session: Session, job: ClaimedJob, lease_s: float) -> None:
    """Let the caller have a job for longer.

    Raises:
        FencedError: As `give_back`.
    """
    _held(session, job).lease_until = func.now() + timedelta(seconds=lease_s)


def end_leases(session: Session) -> None:
    """Let jobs go on at once that services had which are known to be gone."""
    session.execute(
        update(PredictionJobRow)
        .where(PredictionJobRow.lease_until.is_not(None))
        .values(lease_until=func.now())
        .execution_options(synchronize_session=False)
    )


def waiting_images(session: Session, job_id: str, *, limit: int) -> list[WaitingImage]:
    """Return the next images of a job that have no answer yet."""
    stored = func.coalesce(
        PredictionJobImageRow.blob_sha256, PredictionImageRow.blob_sha256, SampleRow.blob_sha256
    )
    query = (
        select(
            PredictionJobImageRow.index,
            PredictionJobImageRow.name,
            stored,
            PredictionJobImageRow.before,
        )
        .outerjoin(
            PredictionImageRow,
            (PredictionImageRow.prediction_id == PredictionJobImageRow.prediction_id)
            & (PredictionImageRow.index == PredictionJobImageRow.prediction_index),
        )
        .outerjoin(SampleRow, SampleRow.id == PredictionJobImageRow.sample_id)
        .where(PredictionJobImageRow.job_id == job_id, PredictionJobImageRow.result.is_(None))
        .order_by(PredictionJobImageRow.index)
        .limit(limit)
    )
    return [WaitingImage(*row) for row in session.execute(query)]


def give_back(
    session: Session,
    job: ClaimedJob,
    answers: Sequence[JobAnswer],
    *,
    keeps_images: bool = True,
) -> PredictionJobRow:
    """Store what was answered and let others have the job, which has ended if no image waits any more.

    It may be repeated if nobody knows whether it was done: an image that has an answer keeps it.

    Args:
        session: Database session.
        job: What was claimed.
        answers: Of images of it that waited.
        keeps_images: Whether uploaded images stay until the job is deleted.

    Raises:
        FencedError: If somebody else has the job since, or it was cancelled or deleted: nothing is stored.
    """
    row = _held(session, job)
    images = {
        image.index: image
        for image in session.scalars(
            select(PredictionJobImageRow).where(
                PredictionJobImageRow.job_id == job.id,
                PredictionJobImageRow.index.in_([answer.index for answer in answers]),
                PredictionJobImageRow.result.is_(None),
            )
        )
    }
    reviewed: dict[Key, tuple[Mapping[str, Any], Look | None]] = {}
    for answer in answers:
        image = images.get(answer.index)
        if image is None:
            continue
        image.result = dict(answer.result)
        image.label = answer.result.get("label")
        image.is_known = answer.result.get("known")
        image.is_changed = _is_changed(image.before, answer.result)
        if not keeps_images:
            image.blob_sha256 = None
        row.n_done += 1
        row.n_problems += image.label is None
        row.n_unknown += image.is_known is False
        row.n_changed += image.is_changed is True
        if image.prediction_id is not None and image.label is not None:
            key = image.prediction_id, image.prediction_index or 0
            reviewed[key] = (answer.result, answer.look)
    reviews.answer_again(session, row.version, reviewed)
    row.lease_until = None
    row.n_lost = 0
    row.served_at = func.now()
    if row.n_done == row.n_images:
        _end(row, TaskStatus.SUCCEEDED)
    session.flush()
    return row


def fail(session: Session, job: ClaimedJob, code: str, detail: str) -> None:
    """End a job that cannot be gone on with; what was answered stays.

    Raises:
        FencedError: As `give_back`.
    """
    row = _held(session, job)
    row.error = {"code": code, "detail": detail}
    _end(row, TaskStatus.FAILED)


def cancel(session: Session, job_id: str) -> PredictionJobRow:
    """End a job at once; what was answered stays.

    Raises:
        PredictionJobNotFoundError: If there is none with this id.
        PredictionJobEndedError: If it has ended.
    """
    job = get_job(session, job_id, lock=True)
    if job.status not in UNFINISHED:
        raise PredictionJobEndedError(job.status)
    job.token += 1
    _end(job, TaskStatus.CANCELLED)
    session.flush()
    return job


def delete_job(session: Session, job_id: str) -> PredictionJobRow:
    """Delete a job with its answers; its uploaded images go with a later collection.

    Raises:
        PredictionJobNotFoundError: If there is none with this id.
    """
    job = get_job(session, job_id, lock=True)
    session.delete(job)
    return job


def prune(session: Session, *, keep: timedelta, limit: int) -> int:
    """Delete jobs that ended longer ago than that, and return how many."""
    old = (
        select(PredictionJobRow.id)
        .where(~_moves(), PredictionJobRow.finished_at < func.now() - keep)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    ids = list(session.scalars(old))
    session.execute(delete(PredictionJobRow).where(PredictionJobRow.id.in_(ids)))
    return len(ids)


def list_images(
    session: Session,
    job_id: str,
    *,
    changed: bool | None = None,
    known: bool | None = None,
    label: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[PredictionJobImageRow]:
    """Return a page of a job's images that have an answer or a problem, in order.

    Args:
        session: Database session.
        job_id: The job.
        changed: Only those that are answered otherwise than before (True), or as before (False).
        known: Only those that look like a class, or like none.
        label: Only those answered so.
        limit: Most items in the page.
        cursor: `next_cursor` of the page before.

    Raises:
        InvalidCursorError: If the cursor is not one of ours.
    """
    query = select(PredictionJobImageRow).where(
        PredictionJobImageRow.job_id == job_id, PredictionJobImageRow.result.is_not(None)
    )
    if changed is not None:
        query = query.where(PredictionJobImageRow.is_changed.is_(changed))
    if known is not None:
        query = query.where(PredictionJobImageRow.is_known.is_(known))
    if label is not None:
        query = query.where(PredictionJobImageRow.label == label)
    if cursor is not None:
        query = query.where(PredictionJobImageRow.index > decode_number(cursor))
    query = query.order_by(PredictionJobImageRow.index).limit(limit + 1)
    return page_of(list(session.scalars(query)), limit, lambda image: (str(image.index),))


def count_labels(session: Session, job_id: str) -> dict[str, int]:
    """Return how many images were answered with each label, most frequent first."""
    label, n = PredictionJobImageRow.label, func.count()
    query = (
        select(label, n)
        .where(PredictionJobImageRow.job_id == job_id, label.is_not(None))
        .group_by(label)
        .order_by(n.desc(), label)
    )
    return {str(name): count for name, count in session.execute(query)}


def image_blob(session: Session, job_id: str, index: int) -> str:
    """Return the blob of an image of a job, wherever it is kept.

    Raises:
        PredictionJobNotFoundError: If there is no such job.
        PredictionJobImageNotFoundError: If it has no such image, or it is not kept any more.
    """
    get_job(session, job_id)
    image = session.get(PredictionJobImageRow, (job_id, index))
    sha256 = None
    if image is not None and image.blob_sha256 is not None:
        sha256 = image.blob_sha256
    elif image is not None and image.prediction_id is not None:
        kept = session.get(PredictionImageRow, (image.prediction_id, image.prediction_index))
        sha256 = None if kept is None else kept.blob_sha256
    elif image is not None and image.sample_id is not None:
        sample = session.get(SampleRow, image.sample_id)
        sha256 = None if sample is None else sample.blob_sha256
    if sha256 is None:
        raise PredictionJobImageNotFoundError
    return sha256


def _moves() -> Any:
    return PredictionJobRow.status.in_([TaskStatus.QUEUED, TaskStatus.RUNNING])


def _held(session: Session, job: ClaimedJob) -> PredictionJobRow:
    query = select(PredictionJobRow).where(PredictionJobRow.id == job.id).with_for_update()
    row = session.scalars(query).one_or_none()
    if row is None or row.token != job.token or row.status is not TaskStatus.RUNNING:
        raise FencedError(job.id, job.token)
    return row


def _end(job: PredictionJobRow, status: TaskStatus) -> None:
    job.status = status
    job.lease_until = None
    job.finished_at = func.now()


def _is_changed(before: Mapping[str, Any] | None, result: Mapping[str, Any]) -> bool | None:
    """Return whether an answer differs from what was said before; None where there is none of either.

    Example:
        >>> _is_changed({"label": "heron", "known": True}, {"label": "heron", "known": False})
        True
        >>> _is_changed({"label": "heron"}, {"label": "heron", "known": False})
        False
    """
    if not before or "label" not in before or "label" not in result:
        return None
    if before["label"] != result["label"]:
        return True
    return "known" in before and before["known"] != result["known"]
