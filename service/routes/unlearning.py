"""Unlearning: tasks that take something out of what a learner knows."""

from fastapi import APIRouter, Request, Response, status

from service.dependencies import ActorDep, BodyDep, ContextDep
from service.http.demands import demands
from service.http.idempotency import IdempotentRequest, body_digest
from service.http.roles import requires
from service.http.strict_route import StrictRoute
from service.schemas.base import LearnerName
from service.schemas.tasks import TaskRead, UnlearnCreate, UnlearnPreview
from service.use_cases.unlearning import preview, queue_unlearning

router = APIRouter(
    prefix="/v1", tags=["Tasks"], route_class=StrictRoute, dependencies=[requires("reader")]
)


@router.post(
    "/learners/{name}/unlearn",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=TaskRead,
    dependencies=[requires("trainer")],
)
@demands(is_idempotent=True)
def unlearn(
    name: LearnerName,
    body: UnlearnCreate,
    raw: BodyDep,
    request: Request,
    context: ContextDep,
    actor: ActorDep,
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
    with IdempotentRequest.of(
        request, context.session_factory, body_digest(request, raw)
    ) as idempotent:
        if idempotent.replay is not None:
            return idempotent.replay
        with context.session_factory() as session:
            context.quotas.require_day(session, request.state.principal, 0)
        answer = queue_unlearning(context, actor, name, body, idempotent)
    context.doorbell.wake()
    return answer


@router.post(
    "/learners/{name}/unlearn/preview",
    response_model=UnlearnPreview,
    dependencies=[requires("trainer")],
)
def preview_unlearning(
    name: LearnerName, body: UnlearnCreate, context: ContextDep
) -> UnlearnPreview:
    """Say what `POST .../unlearn` with this body would take away for good. Nothing is done.

    - **404** `learner-not-found`
    - **409** `cannot-unlearn`, `nothing-learned`
    - **422** `unknown-content`, `nothing-would-remain`
    """
    return preview(context, name, body)
