"""Unlearning: tasks that take something out of what a learner knows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import APIRouter, Request, Response, status

from models.strategies.base import Strategy
from models.strategies.catalog import CATALOG
from registry import audit, classes, learners, tasks, unlearning
from registry.audit import AuditBy
from registry.errors import UnknownContentError
from service.configs import require_strategy
from service.dependencies import AuditDep, BodyDep, Collaborators, CollaboratorsDep, requires
from service.http.idempotency import Once, body_digest
from service.http.problems import FieldError, Problem
from service.http.strict_json import StrictRoute
from service.schemas.base import LearnerName
from service.schemas.tasks import TaskRead, UnlearnCreate, UnlearnPreview
from service.task_views import read_task

router = APIRouter(
    prefix="/v1", tags=["Tasks"], route_class=StrictRoute, dependencies=[requires("reader")]
)

NOT_KNOWN = "The learner's head does not know it."
MOST_TOLD = 100
"""Tasks and classes that the audit log names; the task's own row has them all. Chosen, untested."""


@router.post(
    "/learners/{name}/unlearn",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=TaskRead,
    dependencies=[requires("trainer")],
)
def unlearn(
    name: LearnerName,
    body: UnlearnCreate,
    raw: BodyDep,
    request: Request,
    on: CollaboratorsDep,
    by: AuditDep,
) -> Response:
    """Take tasks and classes out of what a learner knows.

    Of a task all it brought goes, also what it added to a class of an older task; of a class, what every task brought.
    Queued as a task of mode `unlearn`, and published as a new version, whose `metrics.unlearning` says what went and
    in `residue` what still carries a trace: `unlearning` in `GET /v1/strategies` says beforehand what a strategy can.

    **Once it is published there is no way back**: images of what was unlearned are deleted, and every older version
    that held some of it is erased, and can be served no more. To look first, send `max_forgetting`: a result that
    breaks it is held. What was unlearned can be learned again.

    - **404** `learner-not-found`
    - **409** `cannot-unlearn`: the strategy cannot; `training-images-gone`: it needs images that were deleted;
      `nothing-learned`, `stale-head`
    - **422** `unknown-content`: `errors` names the tasks and classes that the head does not know;
      `nothing-would-remain`
    """
    with Once.of(request, on.session_factory, body_digest(request, raw)) as once:
        if once.replay is not None:
            return once.replay
        with on.session_factory() as session:
            on.quotas.require_day(session, request.state.principal, 0)
        answer = _queue(on, by, name, body, once)
    on.doorbell.wake()
    return answer


@router.post(
    "/learners/{name}/unlearn/preview",
    response_model=UnlearnPreview,
    dependencies=[requires("trainer")],
)
def preview_unlearning(
    name: LearnerName, body: UnlearnCreate, on: CollaboratorsDep
) -> UnlearnPreview:
    """Say what `POST .../unlearn` with this body would take away for good. Nothing is done.

    - **404** `learner-not-found`
    - **409** `cannot-unlearn`, `nothing-learned`
    - **422** `unknown-content`, `nothing-would-remain`
    """
    with on.session_factory() as session:
        learner = learners.get_learner(session, name)
        _require_able(learner.strategy)
        shown = classes.shown(session, learner.id)
        labels = [shown.label(name) for name in body.classes]
        with _named_content():
            loss = unlearning.loss(session, learner, tasks=body.tasks, classes=labels)
        live = learners.live_version(session, learner.id)
    return UnlearnPreview(
        learner=name,
        tasks=body.tasks,
        classes=loss.classes,
        versions=loss.versions,
        images=loss.n_images,
        live_version=live,
    )


def _queue(on: Collaborators, by: AuditBy, name: str, body: UnlearnCreate, once: Once) -> Response:
    with on.session_factory.begin() as session:
        learner = learners.get_learner(session, name)
        strategy = _require_able(learner.strategy)
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
                key_id=by.key_id,
            )
        details = {"tasks": body.tasks[:MOST_TOLD], "classes": labels[:MOST_TOLD]}
        audit.record(session, by, "task.unlearn", learner=name, subject=task.id, details=details)
        read = read_task(session, task, name).model_dump(mode="json")
        headers = {"Location": f"/v1/tasks/{task.id}"}
        return once.answer(session, status.HTTP_202_ACCEPTED, read, headers)


def _require_able(strategy_name: str) -> type[Strategy[Any]]:
    strategy = require_strategy(strategy_name)
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
