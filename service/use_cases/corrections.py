"""Correcting images: the task that moves them to other classes or takes them out, and the one that takes it back."""

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Response, status

from models.strategies.catalog import CATALOG
from registry import audit, classes, learners, tasks
from registry.audit import Actor
from registry.corrections import Changes
from registry.errors import ImagesNotCorrectableError, UnknownContentError
from registry.postgres.database import Session
from registry.tables import LearnerRow, TaskRow
from service.dependencies import AppContext
from service.http.idempotency import IdempotentRequest
from service.problems import FieldError, Problem
from service.schemas.corrections import CorrectionCreate
from service.use_cases.configs import require_strategy
from service.use_cases.task_views import read_task

MOST_TOLD = 100
"""Images that the audit log names; the task's own row has them all. Chosen, untested."""


def queue_correction(
    context: AppContext,
    actor: Actor,
    name: str,
    body: CorrectionCreate,
    idempotent: IdempotentRequest,
) -> Response:
    """Queue the task, and return the answer. Blocks.

    Raises:
        Problem: `cannot-correct`, `unknown-content`.
        RegistryError: As `registry.tasks.add_correction`.
    """
    with context.session_factory.begin() as session:
        asked = None if body.undo else [(change.sample, change.to) for change in body.changes]
        task = add_correction(
            session,
            actor,
            name,
            changes=asked,
            undo=body.undo,
            title=body.name,
            expected_head_version=body.expected_head_version,
        )
        read = read_task(session, task, name).model_dump(mode="json")
        headers = {"Location": f"/v1/tasks/{task.id}"}
        return idempotent.answer(session, status.HTTP_202_ACCEPTED, read, headers)


def add_correction(
    session: Session,
    actor: Actor,
    name: str,
    *,
    changes: Changes | None,
    undo: str | None = None,
    title: str | None = None,
    expected_head_version: int | None = None,
) -> TaskRow:
    """Queue a correction and note it in the audit log, in one transaction.

    Args:
        session: Database session.
        actor: Who corrects.
        name: Public name of the learner.
        changes: Images by id, and the label or name of the class that each shows, None for none; None with `undo`.
        undo: Id of the correction to take back.
        title: The sender's own name for the task.
        expected_head_version: Refuse if the learner's head is another version.

    Raises:
        Problem: `cannot-correct`, `unknown-content`.
        RegistryError: As `registry.tasks.add_correction`.
    """
    learner = learners.get_learner(session, name)
    _require_able(learner)
    shown = classes.shown(session, learner.id)
    labelled = changes and [
        (sample_id, None if to is None else shown.label(to)) for sample_id, to in changes
    ]
    with _named_changes():
        task = tasks.add_correction(
            session,
            name,
            name=title,
            changes=labelled,
            undo=undo,
            expected_head_version=expected_head_version,
            key_id=actor.key_id,
        )
    told = [{"sample": each, "to": to} for each, to in task.options["changes"][:MOST_TOLD]]
    details = {"images": len(task.options["changes"]), "changes": told}
    if undo is not None:
        details["undoes"] = undo
    audit.record(session, actor, "task.correct", learner=name, subject=task.id, details=details)
    return task


def can_correct(learner: LearnerRow) -> bool:
    """Whether a learner's strategy can."""
    return require_strategy(learner.strategy, learner.config).corrects


def _require_able(learner: LearnerRow) -> None:
    strategy = require_strategy(learner.strategy, learner.config)
    if not strategy.corrects:
        able = ", ".join(each.name for each in CATALOG if each.corrects)
        raise Problem(
            "cannot-correct",
            f"The strategy {strategy.name} has trained its images into weights and cannot change the label of one: "
            f"unlearn the class or task, if it can, and teach it again. These strategies can: {able}.",
        )


@contextmanager
def _named_changes() -> Iterator[None]:
    """Say which of the changes of the body cannot be made."""
    try:
        yield
    except ImagesNotCorrectableError as error:
        detail = "It is no image that the learner's head has learned or is measured with."
        errors = tuple(FieldError(f"/body/changes/{i}/sample", detail) for i in error.images)
        raise Problem("unknown-content", str(error), errors=errors) from error
    except UnknownContentError as error:
        detail = "The learner's head does not know this class: teach it first."
        errors = tuple(FieldError(f"/body/changes/{i}/to", detail) for i in error.classes)
        sentence = (
            "The learner's head does not know all of these classes: teach a new class with an image of its own "
            "first, and then move others to it."
        )
        raise Problem("unknown-content", sentence, errors=errors) from error
