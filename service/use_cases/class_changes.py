"""Renaming and hiding a class, and from which score it is known: the same for the API and the dashboard."""

from dataclasses import replace
from typing import Any

from registry import audit, classes, learners
from registry.audit import Actor
from registry.errors import ClassNotFoundError
from registry.learners import ClassInfo
from registry.postgres.database import Session
from registry.tables import LearnerRow


def find_class(session: Session, learner: LearnerRow, name: str) -> ClassInfo:
    """Return a class of the live version by its name or label.

    Raises:
        ClassNotFoundError: If there is none.
    """
    label = classes.resolve(session, learner.id, name)
    for entry in learners.class_table(session, learner):
        if entry.label == label:
            return entry
    raise ClassNotFoundError


def change_class(
    session: Session, actor: Actor, learner: LearnerRow, before: ClassInfo, asked: dict[str, Any]
) -> ClassInfo:
    """Change what is asked of a class, and return it as it is now.

    Args:
        session: Database session.
        actor: Who does it.
        learner: Its learner, locked.
        before: The class as it is.
        asked: `name` (None is its label), `hidden`, `min_score` (None for none); what is missing stays.

    Raises:
        ClassNameTakenError, LabelConfusableError: As `registry.classes.rename`.
    """
    if "name" in asked:
        classes.rename(session, learner, before.label, asked["name"])
    if "hidden" in asked:
        classes.hide(session, learner, before.label, is_hidden=asked["hidden"])
    if "min_score" in asked:
        classes.answer_from(session, learner, before.label, asked["min_score"])
    shown = classes.shown(session, learner.id)
    after = replace(
        before,
        name=shown.name(before.label),
        is_hidden=before.label in shown.hidden,
        min_score=shown.min_scores.get(before.label),
    )
    values = {
        "name": (before.name, after.name),
        "hidden": (before.is_hidden, after.is_hidden),
        "min_score": (before.min_score, after.min_score),
    }
    changed = {
        key: {"before": old, "after": new} for key, (old, new) in values.items() if old != new
    }
    if changed:
        audit.record(
            session,
            actor,
            "class.update",
            learner=learner.name,
            subject=before.label,
            details=changed,
        )
    return after
