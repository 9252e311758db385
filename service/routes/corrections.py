"""Corrections: tasks that move learned images to other classes or take them out, and the images of a class."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response, status

from registry import classes, learners, pictures
from service.dependencies import ActorDep, BodyDep, ContextDep, Cursor, Limit, link_next
from service.http.demands import demands
from service.http.idempotency import IdempotentRequest, body_digest
from service.http.roles import requires
from service.http.strict_route import StrictRoute
from service.labels import KnownLabel
from service.schemas.base import LearnerName, Page
from service.schemas.corrections import CorrectionCreate
from service.schemas.tasks import SampleRead, TaskRead
from service.use_cases.corrections import queue_correction

router = APIRouter(
    prefix="/v1", tags=["Tasks"], route_class=StrictRoute, dependencies=[requires("reader")]
)


@router.get("/learners/{name}/samples", response_model=Page[SampleRead])
def list_learned_samples(
    name: LearnerName,
    request: Request,
    response: Response,
    context: ContextDep,
    label: Annotated[KnownLabel | None, Query(description="Label or name of a class")] = None,
    split: Literal["train", "eval"] | None = None,
    removed: bool = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[SampleRead]:
    """List the images that the learner's head has learned or is measured with, by what they show.

    They come task by task, in the order they were sent. `removed` lists those that corrections took out instead.

    - **404** `learner-not-found`
    """
    with context.session_factory() as session:
        learner = learners.get_learner(session, name)
        known = None if label is None else classes.resolve(session, learner.id, label)
        page = pictures.list_learned(
            session,
            learner,
            label=known,
            split=split,
            is_removed=removed,
            limit=limit,
            cursor=cursor,
        )
    link_next(request, response, page.next_cursor)
    items = [SampleRead.model_validate(row) for row in page.items]
    return Page[SampleRead](items=items, next_cursor=page.next_cursor)


@router.post(
    "/learners/{name}/corrections",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=TaskRead,
    dependencies=[requires("trainer")],
)
@demands(is_idempotent=True)
def correct(
    name: LearnerName,
    body: CorrectionCreate,
    raw: BodyDep,
    request: Request,
    context: ContextDep,
    actor: ActorDep,
) -> Response:
    """Say what learned images really show, or that they are to be taken out; nothing is trained for it.

    Queued as a task of mode `correct`, and published as a new version, mostly within seconds, whose
    `metrics.correction` says what was done and in `residue` what still carries a trace of the labels from before:
    `corrects` in `GET /v1/strategies` says which strategies can. A held-out image counts for the class it is moved to.

    `undo` with the id of that task takes it back. Images that were taken out are kept for that; `POST .../unlearn`
    with their class or task deletes them, and the older versions that still hold them.

    - **404** `learner-not-found`, `task-not-found`
    - **409** `cannot-correct`: the strategy cannot; `nothing-to-correct`: the images show this already;
      `class-would-be-empty`: nothing would be left to learn a class or task from; `nothing-learned`, `stale-head`
    - **422** `unknown-content`: `errors` names the images and classes that the head does not know
    """
    with IdempotentRequest.of(
        request, context.session_factory, body_digest(request, raw)
    ) as idempotent:
        if idempotent.replay is not None:
            return idempotent.replay
        with context.session_factory() as session:
            context.quotas.require_day(session, request.state.principal, 0)
        answer = queue_correction(context, actor, name, body, idempotent)
    context.doorbell.wake()
    return answer
