"""Giving feedback and taking it back: each with its note in the audit log, in the caller's transaction."""

from registry import audit, feedback, learners
from registry.audit import Actor
from registry.errors import UnknownResultError
from registry.postgres.database import Session
from registry.tables import LearnerRow, PredictionRow
from service.problems import FieldError, Problem


def give_feedback(
    session: Session, actor: Actor, prediction_id: str, index: int, label: str, *, key_id: str
) -> tuple[LearnerRow, PredictionRow]:
    """Note what is really on an image, and return the learner and its prediction. Arguments as in `registry.feedback`.

    Raises:
        Problem: `validation`, if there is no usable result of this index.
        RegistryError: As `registry.feedback.give`.
    """
    try:
        row = feedback.give(session, prediction_id, index, label, key_id=key_id)
    except UnknownResultError as error:
        raise Problem("validation", errors=(FieldError("/body/index", str(error)),)) from error
    return _noted(session, actor, "feedback.give", row, index), row


def withdraw_feedback(session: Session, actor: Actor, prediction_id: str, index: int) -> None:
    """Take pending feedback back.

    Raises:
        RegistryError: As `registry.feedback.withdraw`.
    """
    row = feedback.withdraw(session, prediction_id, index)
    _noted(session, actor, "feedback.withdraw", row, index)


def _noted(
    session: Session, actor: Actor, action: str, row: PredictionRow, index: int
) -> LearnerRow:
    learner = learners.get_learner_by_id(session, row.learner_id)
    audit.record(
        session, actor, action, learner=learner.name, subject=row.id, details={"index": index}
    )
    return learner
