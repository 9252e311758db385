"""Teaching in the browser: photos are looked through, named and learned, and the page says when they are answered."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from registry.errors import RegistryError
from service.dashboard.pages import PageRoute, as_problem, page, see
from service.dashboard.teach_view import Refusal, Taught, known_names, refusal_of, taught
from service.dependencies import ActorDep, AppContext, ContextDep
from service.http.accept import choose
from service.http.demands import demands, task_bytes
from service.http.roles import PrincipalDep, requires
from service.http.security import Principal
from service.problems import Problem
from service.schemas.base import LearnerName, PublicId
from service.schemas.tasks import TaskQuery
from service.use_cases import task_creation
from service.use_cases.condition import condition_of
from service.use_cases.upload_names import read_names

WITH_CAMERA = {"Permissions-Policy": "camera=(self), geolocation=(), microphone=()"}
"""Photos may be taken on the page that teaches, and on no other."""
TaskId = Annotated[PublicId | None, Query()]

router = APIRouter(
    prefix="/learners/{name}/teach", route_class=PageRoute, dependencies=[requires("trainer")]
)


@router.get("")
def show_teaching(
    name: LearnerName, context: ContextDep, viewer: PrincipalDep, task: TaskId = None
) -> Response:
    """Show the page that teaches; with `task`, what became of what was taught."""
    if task is None:
        return _form(context, viewer, name)
    return page(
        "taught.html",
        viewer,
        section="learners",
        name=name,
        taught=_taught(context, name, task),
        alarms=condition_of(context.health, viewer).alarms,
    )


@router.get("/live.json")
def follow_teaching(name: LearnerName, context: ContextDep, task: TaskId = None) -> Response:
    """Return how far a task is, for the page that waits for it; nothing once there is nothing to wait for."""
    if task is None:
        return JSONResponse({"tasks": []})
    seen = _taught(context, name, task)
    return JSONResponse({"tasks": [seen.step] if seen.moves else []})


@router.post("/look")
@demands(max_bytes=task_bytes, is_spooled=True)
async def look(name: LearnerName, request: Request, context: ContextDep) -> Response:
    """Say which classes the folders name that files lie in. Sent are their names, and what else tells of them."""
    try:
        return JSONResponse(await read_names(request, context))
    except (Problem, RegistryError) as error:
        return _told(as_problem(error))


@router.post("")
@demands(max_bytes=task_bytes, is_spooled=True, is_idempotent=True)
async def learn(
    name: LearnerName,
    request: Request,
    context: ContextDep,
    actor: ActorDep,
    viewer: PrincipalDep,
    skip: Annotated[bool, Query()] = False,
) -> Response:
    """Teach photos. A class that is known already gets more of them; a script is answered in JSON."""
    query = TaskQuery(mode="extend", on_bad_image="skip" if skip else "refuse")
    accepted = request.headers.get("accept", "")
    is_script = choose(accepted, ("text/html", "application/json")) == "application/json"
    try:
        answer = await task_creation.post_upload(context, actor, viewer, name, request, query)
    except (Problem, RegistryError) as error:
        problem = as_problem(error)
        if is_script:
            return _told(problem)
        refusal, status = refusal_of(problem), problem.status_code
        return await run_in_threadpool(_form, context, viewer, name, refusal, status)
    if is_script:
        return answer
    task_id = answer.headers["Location"].rpartition("/")[2]
    return see(f"/admin/learners/{name}/teach?task={task_id}")


def _form(
    context: AppContext,
    viewer: Principal,
    name: str,
    refusal: Refusal | None = None,
    status: int = 200,
) -> Response:
    with context.session_factory() as session:
        known = known_names(session, name)
    settings = context.settings
    facts: dict[str, Any] = {
        "known": known,
        "minImages": settings.min_images,
        "mostImages": settings.max_task_images,
        "mostBytes": settings.max_task_bytes,
        "mostImageBytes": settings.max_image_bytes,
    }
    response = page(
        "teach.html",
        viewer,
        section="learners",
        status=status,
        name=name,
        known=known,
        facts=facts,
        refusal=refusal,
    )
    response.headers.update(WITH_CAMERA)
    return response


def _taught(context: AppContext, name: str, task_id: str) -> Taught:
    address = context.store.live_address(name)
    served = None if address is None else address.version
    with context.session_factory() as session:
        return taught(session, name, task_id, context.settings.schedule, served=served)


def _told(problem: Problem) -> Response:
    """Answer a script of ours with what its page says."""
    return JSONResponse(asdict(refusal_of(problem)), problem.status_code, problem.headers)
