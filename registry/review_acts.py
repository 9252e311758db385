"""What settles many images under review at once: they are named, confirmed or discarded, and taken back together."""

from collections.abc import Collection, Mapping

from sqlalchemy import delete, insert, select, tuple_
from sqlalchemy.orm import Session

from registry import classes, feedback, reviews
from registry.ids import new_id
from registry.reviews import COLUMNS, KEY, Key, Waiting
from registry.statuses import RETRYABLE
from registry.tables import DISCARDED, SAID, FeedbackRow, PredictionRow, ReviewRow, TaskRow


def new_act() -> str:
    """Return the id of an act."""
    return new_id("act")


def name(
    session: Session,
    learner_id: str,
    keys: Collection[Key],
    label: str,
    *,
    key_id: str,
    act: str,
) -> list[Key]:
    """Say what those of some images show that still wait; return which.

    Args:
        session: Database session.
        learner_id: Whose images they are; others are left out.
        keys: The images.
        label: What is on them: a class by its name or label, or a new one; cleaned as an upload's labels are.
        key_id: The key of who says it.
        act: From `new_act`; takes it back.

    Raises:
        LabelConfusableError: If the label differs from a class, or from other feedback, only in case, width or form.
    """
    waiting = _lock(session, learner_id, keys)
    shown = classes.shown(session, learner_id)
    label = shown.label(label)
    feedback.check_spelling(session, learner_id, label, names=shown.labels)
    return _say(session, dict.fromkeys(waiting, label), key_id=key_id, act=act)


def confirm(
    session: Session, learner_id: str, keys: Collection[Key], *, key_id: str, act: str
) -> list[Key]:
    """Say that those of some images that still wait show what was answered; return which. Arguments as of `name`."""
    waiting = _lock(session, learner_id, keys)
    said = {key: one.label for key, one in waiting.items()}
    return _say(session, said, key_id=key_id, act=act)


def discard(session: Session, learner_id: str, keys: Collection[Key], *, act: str) -> list[Key]:
    """Never ask again about those of some images that still wait; return which."""
    waiting = list(_lock(session, learner_id, keys))
    reviews.settle(session, waiting, DISCARDED, act=act)
    return waiting


def undo(session: Session, learner_id: str, act: str) -> list[Key]:
    """Let the images that one act settled wait again, but for those that a task has taken; return which."""
    settled = select(*KEY).where(ReviewRow.learner_id == learner_id, ReviewRow.act == act)
    _lock_predictions(session, learner_id, {key[0] for key in session.execute(settled)})
    taken = (
        select(FeedbackRow.index)
        .join(TaskRow, TaskRow.id == FeedbackRow.task_id)
        .where(
            FeedbackRow.prediction_id == ReviewRow.prediction_id,
            FeedbackRow.index == ReviewRow.index,
            TaskRow.status.not_in(RETRYABLE),
        )
    )
    rows = session.execute(settled.where(~taken.exists()).order_by(*KEY).with_for_update())
    keys = [(prediction_id, index) for prediction_id, index in rows]
    if keys:
        said = tuple_(FeedbackRow.prediction_id, FeedbackRow.index).in_(keys)
        statement = delete(FeedbackRow).where(said)
        session.execute(statement.execution_options(synchronize_session=False))
        reviews.settle(session, keys, None)
    return keys


def _lock(session: Session, learner_id: str, keys: Collection[Key]) -> dict[Key, Waiting]:
    """Return those images that wait; nobody else says anything about them until the transaction ends."""
    _lock_predictions(session, learner_id, {key[0] for key in keys})
    query = (
        select(*COLUMNS)
        .where(ReviewRow.learner_id == learner_id, ReviewRow.settled.is_(None))
        .where(tuple_(*KEY).in_(sorted(keys)))
        .order_by(*KEY)
        .with_for_update()
    )
    found = [Waiting(*row) for row in session.execute(query)]
    return {one.key: one for one in found}


def _lock_predictions(session: Session, learner_id: str, ids: Collection[str]) -> None:
    """Lock predictions as who gives feedback on one does, always in the same order."""
    query = (
        select(PredictionRow.id)
        .where(PredictionRow.learner_id == learner_id, PredictionRow.id.in_(sorted(ids)))
        .order_by(PredictionRow.id)
    )
    session.execute(query.with_for_update(key_share=True)).all()


def _say(session: Session, said: Mapping[Key, str], *, key_id: str, act: str) -> list[Key]:
    rows = [
        {"prediction_id": key[0], "index": key[1], "label": label, "key_id": key_id}
        for key, label in said.items()
    ]
    if rows:
        session.execute(insert(FeedbackRow), rows)
        reviews.settle(session, list(said), SAID, act=act)
    return list(said)
