"""Unlearning: what would go, and the task that takes it out."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import Response, status

from models.strategies.base import Strategy
from models.strategies.catalog import CATALOG
from registry import audit, classes, learners, tasks, unlearning
from registry.audit import Actor
from registry.errors import UnknownContentError
from registry.tables import LearnerRow
from service.dependencies import AppContext
from service.http.idempotency import IdempotentRequest
from service.problems import FieldError, Problem
from service.schemas.tasks import UnlearnCreate, UnlearnPreview
from service.use_cases.configs import require_strategy
from service.use_cases.task_views import read_task

NOT_KNOWN = "The learner's head does not know it."
MOST_TOLD = 100
"""Tasks and classes that the audit log names; the task's own row has them all. Chosen, untested."""


def preview(context: AppContext, name: str, body: UnlearnCreate) -> UnlearnPreview:
    """Return what would go for good.

    Raises:
        Problem: `cannot-unlearn`, `unknown-content`.
        RegistryError: If there is no such learner, it knows nothing, or nothing would remain.
    """
    with context.session_factory() as session:
        learner = learners.get_learner(session, name)
        _require_able(learner)
        shown = classes.shown(session, learner.id)
        labels = [shown.label(name) for name in body.classes]
        with _named_content():
            would_go = unlearning.preview_unlearning(
                session, learner, tasks=body.tasks, classes=labels
            )
        live = learners.live_version(session, learner.id)
    return UnlearnPreview(
        learner=name,
        tasks=body.tasks,
        classes=would_go.classes,
        versions=would_go.versions,
        images=would_go.n_images,
        live_version=live,
    )


def queue_unlearning(
    context: AppContext, actor: Actor, name: str, body: UnlearnCreate, idempotent: IdempotentRequest
) -> Response:
    """Queue the task, and return the answer. Blocks.

    Raises:
        Problem: As `preview`.
        RegistryError: As `preview`, or if the head has moved.
    """
    with context.session_factory.begin() as session:
        learner = learners.get_learner(session, name)
        strategy = _require_able(learner)
        shown = classes.shown(session, learner.id)
        labels = [shown.label(name) for name in body.classes]
        with _named_content():
            task = tasks.add_unlearning(
                session,
                name,
                name=body.name,
                tasks=body.tasks,
                classes=labels,
                options=body.model_dump(mode="json", exclude={"name", "tasks", "classes"}),
                needs_images=strategy.unlearning == "needs_images",
                expected_head_version=body.expected_head_version,
                key_id=actor.key_id,
            )
        details = {"tasks": body.tasks[:MOST_TOLD], "classes": labels[:MOST_TOLD]}
        audit.record(session, actor, "task.unlearn", learner=name, subject=task.id, details=details)
        read = read_task(session, task, name).model_dump(mode="json")
        headers = {"Location": f"/v1/tasks/{task.id}"}
        return idempotent.answer(session, status.HTTP_202_ACCEPTED, read, headers)


def _require_able(learner: LearnerRow) -> type[Strategy[Any]]:
    strategy = require_strategy(learner.strategy, learner.config)
    if strategy.unlearning == "none":
        able = ", ".join(each.name for each in CATALOG if each.unlearning != "none")
        raise Problem(
            "cannot-unlearn",
            f"The strategy {strategy.name} has trained everything into the same weights and cannot take a part out: "
            f"create a learner anew and post what may stay. These strategies can: {able}.",
        )
    return strategy


@contextmanager
def _named_content() -> Iterator[None]:
    """Say which of the tasks and classes of the body are not known."""
    try:
        yield
    except UnknownContentError as error:
        raise Problem("unknown-content", str(error), errors=_named(error)) from error


def _named(error: UnknownContentError) -> tuple[FieldError, ...]:
    pointers = [f"/body/tasks/{i}" for i in error.tasks] + [
        f"/body/classes/{i}" for i in error.classes
    ]
    return tuple(FieldError(pointer, NOT_KNOWN) for pointer in pointers)
