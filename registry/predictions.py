"""Stored predictions: the history of what was asked and answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, tuple_
from sqlalchemy.orm import Session

from registry.errors import InvalidCursorError, PredictionNotFoundError
from registry.paging import Page, decode_cursor, page_of
from registry.tables import PredictionRow


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


def add_predictions(session: Session, predictions: Sequence[NewPrediction]) -> None:
    """Store predictions in one statement.

    Raises:
        IntegrityError: If a learner was deleted meanwhile; store the rest one by one then.
    """
    if predictions:
        session.execute(insert(PredictionRow), [vars(prediction) for prediction in predictions])


def get_prediction(session: Session, prediction_id: str) -> PredictionRow:
    """Return a stored prediction.

    Raises:
        PredictionNotFoundError: If there is none with this id.
    """
    prediction = session.get(PredictionRow, prediction_id)
    if prediction is None:
        raise PredictionNotFoundError(prediction_id)
    return prediction


def list_predictions(
    session: Session,
    learner_id: str,
    *,
    label: str | None = None,
    known: bool | None = None,
    since: datetime | None = None,
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
