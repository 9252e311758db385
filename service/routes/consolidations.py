"""Consolidations: the training that waits until it is quiet."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response, status

from registry.tables import CONSOLIDATE
from service.dependencies import ActorDep, BodyDep, ContextDep, Cursor, Limit
from service.http.demands import demands
from service.http.idempotency import IdempotentRequest, body_digest
from service.http.roles import requires
from service.http.strict_route import StrictRoute
from service.schemas.base import LearnerName, Page
from service.schemas.consolidations import ConsolidationCreate
from service.schemas.tasks import Status, TaskRead
from service.use_cases.consolidations import request_consolidation
from service.use_cases.task_views import list_page, read_task

NOTHING_SAID = ConsolidationCreate()
"""What a request without a body means."""

router = APIRouter(
    prefix="/v1/learners/{name}/consolidations",
    tags=["Tasks"],
    route_class=StrictRoute,
    dependencies=[requires("reader")],
)


@router.post(
    "",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=TaskRead,
    dependencies=[requires("trainer")],
)
@demands(is_idempotent=True)
def consolidate(
    name: LearnerName,
    raw: BodyDep,
    request: Request,
    context: ContextDep,
    actor: ActorDep,
    body: ConsolidationCreate = NOTHING_SAID,
) -> Response:
    """Consolidate what a learner has learned, now rather than when it is quiet.

    A task is learned at once: its classes are answered. A consolidation trains on the images of all tasks that wait for
    it (`consolidation.waiting` of the learner), and is published as a new version only if images that it never saw say
    that what is known is answered better; otherwise it ends as `declined`, with the numbers in `consolidation`.

    It is a task of mode `consolidate`: follow it, cancel it and retry it as one. Every task of the learner goes first;
    it is put down for one, and taken up later where it was. There is one at a time: the one that waits already is
    returned, and no longer waits for quiet.

    - **404** `learner-not-found`
    - **409** `nothing-to-consolidate`; `consolidation-off`: the operator has set `FILOPODIA_CONSOLIDATE=never`
    """
    with IdempotentRequest.of(
        request, context.session_factory, body_digest(request, raw)
    ) as idempotent:
        if idempotent.replay is not None:
            return idempotent.replay
        with context.session_factory() as session:
            context.quotas.require_day(session, request.state.principal, 0)
        with context.session_factory.begin() as session:
            task = request_consolidation(session, actor, name, context.settings.schedule, body.name)
            read = read_task(session, task, name).model_dump(mode="json")
            headers = {"Location": f"/v1/tasks/{task.id}"}
            answer = idempotent.answer(session, status.HTTP_202_ACCEPTED, read, headers)
    context.doorbell.wake()
    return answer


@router.get("", response_model=Page[TaskRead])
def list_consolidations(
    name: LearnerName,
    request: Request,
    response: Response,
    context: ContextDep,
    status: Annotated[list[Status], Query()] = [],  # noqa: B006 (FastAPI copies it)
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[TaskRead]:
    """List a learner's consolidations, newest first."""
    return list_page(request, response, context, name, status, CONSOLIDATE, limit, cursor)
