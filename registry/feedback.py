"""Feedback: what users say is really on images of stored predictions, until a task takes it to learn from.

The last word on an image counts, as long as no task has taken it. Feedback whose task failed or was cancelled is
pending again by that alone: nothing has to be given back, so no crash can lose any.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Text,
    and_,
    cast,
    func,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from registry import classes, learners, reviews, tasks
from registry.errors import (
    FeedbackChangedError,
    FeedbackNotFoundError,
    FeedbackTakenError,
    ImageNotKeptError,
    InvalidCursorError,
    PredictionNotFoundError,
    UnknownResultError,
)
from registry.paging import Page, decode_cursor, page_of
from registry.statuses import RETRYABLE
from registry.tables import (
    SAID,
    FeedbackRow,
    LearnerRow,
    PredictionImageRow,
    PredictionRow,
    TaskRow,
)

IS_PENDING: ColumnElement[bool] = or_(FeedbackRow.task_id.is_(None), TaskRow.status.in_(RETRYABLE))
"""Where the feedback's task is joined in: whether a task may take it."""


@dataclass(frozen=True)
class Feedback:
    """What was said about one image."""

    prediction_id: str
    index: int
    """Of the result it is about."""
    label: str
    task_id: str | None
    """The task that took it; None while it is pending."""
    created_at: datetime
    result: dict[str, Any]
    """What was answered."""
    version: int
    """By which version."""


@dataclass(frozen=True)
class FeedbackImage:
    """Pending feedback with its image, as a task would take it."""

    prediction_id: str
    index: int
    label: str
    blob_sha256: str
    filename: str | None
    width: int
    height: int


def give(
    session: Session, prediction_id: str, index: int, label: str, *, key_id: str
) -> PredictionRow:
    """Say what is really on an image of a stored prediction; return the prediction.

    Saying it again replaces the label; saying the same again changes nothing, also when a task has taken it.

    Args:
        session: Database session.
        prediction_id: The prediction.
        index: Of the result.
        label: What is on the image, cleaned as an upload's labels are: a class by its name or label, or a new one.
        key_id: The key of who says it.

    Raises:
        PredictionNotFoundError: If there is none with this id.
        UnknownResultError: If it has no answer of this index.
        ImageNotKeptError: If the image is not stored, so that nothing could learn from it.
        FeedbackTakenError: If a task has taken another label for it.
        LabelConfusableError: If the label differs from a class, or from other feedback, only in case, width or form.
    """
    prediction = _lock_prediction(session, prediction_id)
    if not 0 <= index < len(prediction.results) or "label" not in prediction.results[index]:
        raise UnknownResultError
    if session.get(PredictionImageRow, (prediction_id, index)) is None:
        raise ImageNotKeptError
    shown = classes.shown(session, prediction.learner_id)
    label = shown.label(label)
    given = _lock_feedback(session, prediction_id, index)
    if given is not None and given.label == label:
        return prediction
    if given is not None:
        _require_pending(session, given)
    besides = (prediction_id, index)
    check_spelling(session, prediction.learner_id, label, names=shown.labels, besides=besides)
    if given is None:
        given = FeedbackRow(prediction_id=prediction_id, index=index)
        session.add(given)
    given.label, given.key_id, given.task_id = label, key_id, None
    given.created_at = func.now()
    session.flush()
    reviews.settle(session, [(prediction_id, index)], SAID)
    return prediction


def withdraw(session: Session, prediction_id: str, index: int) -> PredictionRow:
    """Take pending feedback back; return the prediction.

    Raises:
        PredictionNotFoundError: If there is no prediction with this id.
        FeedbackNotFoundError: If there is no feedback on this image.
        FeedbackTakenError: If a task has taken it.
    """
    prediction = _lock_prediction(session, prediction_id)
    given = _lock_feedback(session, prediction_id, index)
    if given is None:
        raise FeedbackNotFoundError
    _require_pending(session, given)
    session.delete(given)
    session.flush()
    reviews.settle(session, [(prediction_id, index)], None)
    return prediction


def of_predictions(session: Session, prediction_ids: Collection[str]) -> dict[str, list[Feedback]]:
    """Return the feedback on some predictions, by prediction, in the order of their results."""
    query = _read().where(FeedbackRow.prediction_id.in_(prediction_ids))
    feedback: dict[str, list[Feedback]] = defaultdict(list)
    query = query.order_by(FeedbackRow.prediction_id, FeedbackRow.index)
    for given, prediction, is_pending in session.execute(query):
        feedback[prediction.id].append(_feedback(given, prediction, is_pending))
    return feedback


def list_feedback(
    session: Session,
    learner_id: str,
    *,
    pending: bool | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[Feedback]:
    """Return a page of the feedback on a learner's predictions, newest first.

    Args:
        session: Database session.
        learner_id: Id of the learner.
        pending: Only what no task has taken (True), or only what one has (False).
        limit: Most items in the page.
        cursor: `next_cursor` of the page before.

    Raises:
        InvalidCursorError: If the cursor is not one of ours.
    """
    query = _read().where(PredictionRow.learner_id == learner_id)
    if pending is not None:
        query = query.where(IS_PENDING if pending else ~IS_PENDING)
    key = tuple_(FeedbackRow.created_at, FeedbackRow.prediction_id, FeedbackRow.index)
    if cursor is not None:
        query = query.where(key < tuple_(*_decode(cursor)))
    query = query.order_by(
        FeedbackRow.created_at.desc(), FeedbackRow.prediction_id.desc(), FeedbackRow.index.desc()
    )
    rows = session.execute(query.limit(limit + 1))
    return page_of(
        [_feedback(given, prediction, is_pending) for given, prediction, is_pending in rows],
        limit,
        lambda item: (item.created_at.isoformat(), item.prediction_id, str(item.index)),
    )


def fitting(
    session: Session,
    learner: LearnerRow,
    *,
    mode: str,
    min_images: int,
    uploaded: Collection[str],
    limit: int,
) -> list[FeedbackImage]:
    """Return the pending feedback that a task could take, oldest first. What does not fit stays pending.

    Args:
        session: Database session.
        learner: The learner.
        mode: `new_classes` takes labels that the learner does not know, `extend` all.
        min_images: Different images below which a new class is left for later, unless the upload brings it too.
        uploaded: Labels of the images that come with the task.
        limit: Most pieces of feedback.
    """
    query = (
        select(FeedbackRow, PredictionImageRow, PredictionRow.results)
        .join(PredictionRow, PredictionRow.id == FeedbackRow.prediction_id)
        .join(
            PredictionImageRow,
            and_(
                PredictionImageRow.prediction_id == FeedbackRow.prediction_id,
                PredictionImageRow.index == FeedbackRow.index,
            ),
        )
        .outerjoin(TaskRow, TaskRow.id == FeedbackRow.task_id)
        .where(PredictionRow.learner_id == learner.id, IS_PENDING)
        .order_by(FeedbackRow.created_at, FeedbackRow.prediction_id, FeedbackRow.index)
    )
    known = tasks.known_labels(session, learner)
    if mode == "new_classes":
        query = query.where(FeedbackRow.label.not_in(known))
    candidates = [
        FeedbackImage(
            given.prediction_id,
            given.index,
            given.label,
            image.blob_sha256,
            results[given.index].get("filename"),
            image.width,
            image.height,
        )
        for given, image, results in session.execute(query.limit(limit))
    ]
    blobs: dict[str, set[str]] = defaultdict(set)
    for item in candidates:
        blobs[item.label].add(item.blob_sha256)
    return [
        item
        for item in candidates
        if item.label in known or item.label in uploaded or len(blobs[item.label]) >= min_images
    ]


def take(session: Session, task: TaskRow, chosen: Sequence[FeedbackImage]) -> None:
    """Mark feedback as taken by a task, in the transaction that adds it; the learner is locked.

    Raises:
        FeedbackChangedError: If some of it is not pending any more, or says something else by now.
    """
    if not chosen:
        return
    # Arrays: as single parameters the thousands that a task may take would be too many for a statement.
    columns = func.unnest(
        cast([item.prediction_id for item in chosen], ARRAY(Text)),
        cast([item.index for item in chosen], ARRAY(Integer)),
        cast([item.label for item in chosen], ARRAY(Text)),
    )
    wanted = columns.table_valued("prediction_id", "index", "label", name="wanted")
    wanted = wanted.render_derived()
    ended = select(TaskRow.id).where(TaskRow.status.in_(RETRYABLE))
    statement = (
        update(FeedbackRow)
        .where(
            FeedbackRow.prediction_id == wanted.c.prediction_id,
            FeedbackRow.index == wanted.c.index,
            FeedbackRow.label == wanted.c.label,
            or_(FeedbackRow.task_id.is_(None), FeedbackRow.task_id.in_(ended)),
        )
        .values(task_id=task.id)
        .returning(FeedbackRow.index)
        .execution_options(synchronize_session=False)
    )
    if len(session.scalars(statement).all()) != len(chosen):
        raise FeedbackChangedError
    task.n_feedback = len(chosen)
    session.flush()


def count_pending(session: Session, learner_id: str) -> dict[str, int]:
    """Return how many pieces of a learner's feedback wait to be learned, by label, most first."""
    n_images = func.count()
    query = (
        select(FeedbackRow.label, n_images)
        .join(PredictionRow, PredictionRow.id == FeedbackRow.prediction_id)
        .outerjoin(TaskRow, TaskRow.id == FeedbackRow.task_id)
        .where(PredictionRow.learner_id == learner_id, IS_PENDING)
        .group_by(FeedbackRow.label)
        .order_by(n_images.desc(), FeedbackRow.label)
    )
    return dict(session.execute(query).all())


def check_spelling(
    session: Session,
    learner_id: str,
    label: str,
    *,
    names: Collection[str],
    besides: tuple[str, int] | None = None,
) -> None:
    """Refuse a label that could never be learned beside the others, now that its sender is here to be told.

    Args:
        session: Database session.
        learner_id: Id of the learner.
        label: What was said.
        names: What its classes are called besides their labels.
        besides: An image whose feedback is about to be replaced.

    Raises:
        LabelConfusableError: If it differs from a class, or from other feedback, only in case, width or form.
    """
    learner = learners.get_learner_by_id(session, learner_id)
    others = (
        select(FeedbackRow.label)
        .join(PredictionRow, PredictionRow.id == FeedbackRow.prediction_id)
        .outerjoin(TaskRow, TaskRow.id == FeedbackRow.task_id)
        .where(PredictionRow.learner_id == learner.id, IS_PENDING)
        .distinct()
    )
    if besides is not None:
        others = others.where(tuple_(FeedbackRow.prediction_id, FeedbackRow.index) != besides)
    taken = tasks.known_labels(session, learner)
    if label not in taken:
        tasks.check_labels({*taken, *names, *session.scalars(others)}, [label], "extend")


def _read() -> Select[FeedbackRow, PredictionRow, bool]:
    return (
        select(FeedbackRow, PredictionRow, IS_PENDING)
        .join(PredictionRow, PredictionRow.id == FeedbackRow.prediction_id)
        .outerjoin(TaskRow, TaskRow.id == FeedbackRow.task_id)
    )


def _feedback(given: FeedbackRow, prediction: PredictionRow, is_pending: bool) -> Feedback:
    return Feedback(
        given.prediction_id,
        given.index,
        given.label,
        None if is_pending else given.task_id,
        given.created_at,
        prediction.results[given.index],
        prediction.version,
    )


def _lock_prediction(session: Session, prediction_id: str) -> PredictionRow:
    """Return a prediction that will not go, and gets no other feedback, until the transaction ends."""
    query = select(PredictionRow).where(PredictionRow.id == prediction_id)
    prediction = session.scalars(query.with_for_update(key_share=True)).one_or_none()
    if prediction is None:
        raise PredictionNotFoundError(prediction_id)
    return prediction


def _lock_feedback(session: Session, prediction_id: str, index: int) -> FeedbackRow | None:
    query = select(FeedbackRow).where(
        FeedbackRow.prediction_id == prediction_id, FeedbackRow.index == index
    )
    query = query.with_for_update().execution_options(populate_existing=True)
    return session.scalars(query).one_or_none()


def _require_pending(session: Session, given: FeedbackRow) -> None:
    if given.task_id is None:
        return
    # Locked: a retry of the task must see what becomes of its feedback.
    if tasks.get_task(session, given.task_id, lock=True).status not in RETRYABLE:
        raise FeedbackTakenError(given.task_id)


def _decode(cursor: str) -> tuple[datetime, str, int]:
    created_at, prediction_id, index = decode_cursor(cursor, 3)
    if not (index.isascii() and index.isdigit() and len(index) < 10):
        raise InvalidCursorError
    try:
        return datetime.fromisoformat(created_at), prediction_id, int(index)
    except ValueError as error:
        raise InvalidCursorError from error
