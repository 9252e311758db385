"""Stored predictions: the history of what was asked and answered, and the images that are kept with it."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, insert, or_, select, tuple_
from sqlalchemy.orm import Session

from registry import reviews
from registry.blobs.store import BlobStore
from registry.errors import (
    InvalidCursorError,
    PredictionImageNotFoundError,
    PredictionNotFoundError,
)
from registry.paging import Page, decode_cursor, page_of
from registry.reviews import NewReview
from registry.samples import keep_blobs
from registry.statuses import LEARNED
from registry.tables import FeedbackRow, PredictionImageRow, PredictionRow, TaskRow

_IMAGE_COLUMNS = ("prediction_id", "index", "blob_sha256", "width", "height")


@dataclass(frozen=True)
class NewPrediction:
    """An answered request, to be stored."""

    id: str
    """From `new_id("prd")`: the client has it before the row exists."""
    learner_id: str
    version: int
    results: list[dict[str, Any]]
    labels: list[str]
    """The labels answered."""
    has_unknown: bool
    """Whether any image looked like no known class."""
    created_at: datetime


@dataclass(frozen=True)
class NewImage:
    """An image of an answered request, to be kept. Its blob lies in the store already."""

    prediction_id: str
    index: int
    """Of the result it got."""
    blob_sha256: str
    width: int
    height: int
    review: NewReview | None = None
    """What a person may be asked about it; None if nobody is to be asked."""


def add_predictions(session: Session, predictions: Sequence[NewPrediction]) -> None:
    """Store predictions in one statement.

    Raises:
        IntegrityError: If a learner was deleted meanwhile; store the rest one by one then.
    """
    if predictions:
        session.execute(insert(PredictionRow), [vars(prediction) for prediction in predictions])


def add_images(session: Session, images: Sequence[NewImage], blobs: BlobStore) -> int:
    """Keep images of predictions that the same transaction stores; return how many could not be kept.

    An image whose blob is gone again, because somebody deleted its twin, is left out.
    """
    if not images:
        return 0
    keep_blobs(session)
    gone = blobs.missing({image.blob_sha256 for image in images})
    kept = [image for image in images if image.blob_sha256 not in gone]
    if kept:
        rows = [{name: getattr(image, name) for name in _IMAGE_COLUMNS} for image in kept]
        session.execute(insert(PredictionImageRow), rows)
        reviews.add(session, [image.review for image in kept if image.review is not None])
    return len(images) - len(kept)


def kept_images(session: Session, prediction_ids: Collection[str]) -> dict[str, list[int]]:
    """Return which results of some predictions have their image kept, by prediction."""
    key = PredictionImageRow.prediction_id, PredictionImageRow.index
    query = select(*key).where(PredictionImageRow.prediction_id.in_(prediction_ids)).order_by(*key)
    indexes: dict[str, list[int]] = defaultdict(list)
    for prediction_id, index in session.execute(query):
        indexes[prediction_id].append(index)
    return indexes


def get_image(session: Session, prediction_id: str, index: int) -> PredictionImageRow:
    """Return a kept image.

    Raises:
        PredictionNotFoundError: If there is no prediction with this id.
        PredictionImageNotFoundError: If it has no kept image of this index.
    """
    get_prediction(session, prediction_id)
    image = session.get(PredictionImageRow, (prediction_id, index))
    if image is None:
        raise PredictionImageNotFoundError
    return image


def prune(session: Session, *, keep: timedelta, limit: int) -> int:
    """Delete up to `limit` predictions older than `keep`, and return how many.

    One with feedback that is still to be learned stays, however old it is. The blobs of images go with a later
    collection.
    """
    unlearned = (
        select(FeedbackRow.index)
        .outerjoin(TaskRow, TaskRow.id == FeedbackRow.task_id)
        .where(FeedbackRow.prediction_id == PredictionRow.id)
        .where(or_(FeedbackRow.task_id.is_(None), TaskRow.status.not_in(LEARNED)))
        .exists()
    )
    is_old = PredictionRow.created_at < func.now() - keep
    candidates = select(PredictionRow.id).where(is_old, ~unlearned).limit(limit)
    ids = list(session.scalars(candidates.with_for_update(skip_locked=True, of=PredictionRow)))
    # Asked again now that they are locked: feedback may have come between looking and locking.
    gone = delete(PredictionRow).where(PredictionRow.id.in_(ids), ~unlearned)
    statement = gone.returning(PredictionRow.id).execution_options(synchronize_session=False)
    return len(session.scalars(statement).all()) if ids else 0


def get_prediction(session: Session, prediction_id: str) -> PredictionRow:
    """Return a stored prediction.

    Raises:
        PredictionNotFoundError: If there is none with this id.
    """
    prediction = session.get(PredictionRow, prediction_id)
    if prediction is None:
        raise PredictionNotFoundError(prediction_id)
    return prediction


def is_stored(session: Session, prediction_id: str) -> bool:
    """Return whether there is a prediction with this id."""
    return session.get(PredictionRow, prediction_id) is not None


def list_predictions(
    session: Session,
    learner_id: str,
    *,
    label: str | None = None,
    known: bool | None = None,
    since: datetime | None = None,
    feedback: bool | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[PredictionRow]:
    """Return a page of a learner's stored predictions, newest first.

    Args:
        session: Database session.
        learner_id: Id of the learner.
        label: Only requests with an image of this label.
        known: Only requests whose images all looked known (True), or one of whose images did not (False).
        since: Only requests at or after this time.
        feedback: Only requests with feedback on one of their images (True), or without any (False).
        limit: Most items in the page.
        cursor: `next_cursor` of the page before.

    Raises:
        InvalidCursorError: If the cursor is not one of ours.
    """
    query = select(PredictionRow).where(PredictionRow.learner_id == learner_id)
    if label is not None:
        query = query.where(PredictionRow.labels.contains([label]))
    if known is not None:
        query = query.where(PredictionRow.has_unknown.is_(not known))
    if since is not None:
        query = query.where(PredictionRow.created_at >= since)
    if feedback is not None:
        given = select(FeedbackRow.index).where(FeedbackRow.prediction_id == PredictionRow.id)
        query = query.where(given.exists() if feedback else ~given.exists())
    key = tuple_(PredictionRow.created_at, PredictionRow.id)
    if cursor is not None:
        query = query.where(key < tuple_(*_decode(cursor)))
    query = query.order_by(PredictionRow.created_at.desc(), PredictionRow.id.desc())
    return page_of(
        list(session.scalars(query.limit(limit + 1))),
        limit,
        lambda prediction: (prediction.created_at.isoformat(), prediction.id),
    )


def _decode(cursor: str) -> tuple[datetime, str]:
    created_at, prediction_id = decode_cursor(cursor, 2)
    try:
        return datetime.fromisoformat(created_at), prediction_id
    except ValueError as error:
        raise InvalidCursorError from error
