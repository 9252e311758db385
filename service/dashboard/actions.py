"""What the dashboard's forms do: log in and out, change tasks, serve another version.

Requests with a cookie, and logins, come from our own pages only: `service.http.security` checks that before they get
here.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from registry import tasks, versions
from registry.errors import ConflictError
from registry.postgres.database import Session
from registry.statuses import TaskStatus
from service.dashboard.errors import REFERENCE
from service.dashboard.pages import PageRoute, page, see
from service.dependencies import Actor, ActorDep, AppContext, ContextDep
from service.http.browser_sessions import COOKIE, SESSION_S
from service.http.demands import demands
from service.http.roles import PrincipalDep, requires
from service.http.security import Principal, client_address
from service.schemas.base import MAX_INT, LearnerName, PublicId
from service.use_cases import live_alias
from service.use_cases.consolidations import request_consolidation
from service.use_cases.task_changes import change_task

router = APIRouter(route_class=PageRoute)

LINK_SPENT = (
    "This link was used already, or is too old. `filopodia login` prints a new one on the machine of the service; or "
    "log in with a key."
)


@router.get("/login")
@demands(is_public=True)
def show_login(
    next_page: Annotated[str, Query(alias="next", max_length=600)] = "/admin",
) -> Response:
    """Show the login form."""
    return page("login.html", None, next=own_page(next_page), problem=None)


@router.post("/login")
@demands(is_public=True, logs_in=True)
async def log_in(
    request: Request,
    context: ContextDep,
    key: Annotated[str, Form(max_length=200)] = "",
    next_page: Annotated[str, Form(alias="next", max_length=600)] = "/admin",
) -> Response:
    """Exchange a key for a session cookie."""
    principal = await run_in_threadpool(
        context.keys.find_login, key.strip(), client_address(request.scope)
    )
    target = own_page(next_page)
    if principal is None:
        problem = "This is not a valid key of this service."
        return page("login.html", None, status=401, next=target, problem=problem)
    return _logged_in(request, context, principal, target)


@router.get("/enter")
@demands(is_public=True)
def show_link(token: Annotated[str, Query(max_length=200)] = "") -> Response:
    """Show what a login link leads to: a button, which a script presses.

    Looking uses nothing up: what fetches a link ahead of its reader, to show or to scan it, only asks for this page.
    """
    return page("enter.html", None, token=token)


@router.post("/enter")
@demands(is_public=True, logs_in=True)
def use_link(
    request: Request, context: ContextDep, token: Annotated[str, Form(max_length=200)] = ""
) -> Response:
    """Exchange a login link, this once, for the session of the key it stands for."""
    key_id = context.login_links.use(token)
    principal = None if key_id is None else context.keys.find_by_id(key_id)
    if principal is None:
        context.keys.fail_login(client_address(request.scope))
        return page("login.html", None, status=401, next="/admin", problem=LINK_SPENT)
    return _logged_in(request, context, principal, "/admin")


def _logged_in(
    request: Request, context: AppContext, principal: Principal, target: str
) -> Response:
    request.state.logged_in = principal  # for the log
    response = see(target)
    response.set_cookie(
        COOKIE,
        context.keys.session_cookie(principal),
        max_age=SESSION_S,
        path="/",
        secure=context.settings.https_only_cookie,
        httponly=True,
        samesite="strict",
    )
    return response


@router.post("/logout")
def log_out(context: ContextDep, viewer: PrincipalDep) -> Response:
    """End the session: its cookie is refused from now on, wherever it was copied to."""
    context.keys.end_session(viewer)
    response = see("/admin/login")
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return response


@router.post("/tasks/{task_id}/cancel", dependencies=[requires("trainer")])
def cancel_task(
    task_id: PublicId, request: Request, context: ContextDep, actor: ActorDep
) -> Response:
    """Ask for a task to be stopped, and go back to the page it was asked on."""
    return _change_task(request, context, actor, "task.cancel", task_id, tasks.request_cancel)


@router.post("/tasks/{task_id}/retry", dependencies=[requires("trainer")])
def retry_task(
    task_id: PublicId, request: Request, context: ContextDep, actor: ActorDep
) -> Response:
    """Queue a failed or cancelled task again, and go back to the page it was asked on."""
    return _change_task(request, context, actor, "task.retry", task_id, tasks.retry_task)


@router.post("/tasks/{task_id}/publish", dependencies=[requires("trainer")])
def publish_task(
    task_id: PublicId, request: Request, context: ContextDep, actor: ActorDep
) -> Response:
    """Publish a held task after all, or learn it if it was held before that; go back to the page it was asked on."""
    done = {TaskStatus.SUCCEEDED: "task-published", TaskStatus.QUEUED: "task-released"}
    publish = partial(versions.publish_held, schedule=context.settings.schedule)
    answer = _change_task(request, context, actor, "task.publish", task_id, publish, done)
    context.watcher.wake()
    return answer


@router.post("/learners/{name}/consolidate", dependencies=[requires("trainer")])
def consolidate(
    name: LearnerName, context: ContextDep, actor: ActorDep, viewer: PrincipalDep
) -> Response:
    """Consolidate what the learner has learned now, and go back to its page."""
    target = f"/admin/learners/{name}"
    try:
        with context.session_factory.begin() as session:
            context.quotas.require_day(session, viewer, 0)
            request_consolidation(session, actor, name, context.settings.schedule)
    except ConflictError as conflict:
        return see(f"{target}?problem={conflict.code}")
    context.doorbell.wake()
    return see(f"{target}?done=consolidation-asked")


@router.post("/learners/{name}/live", dependencies=[requires("trainer")])
def move_live(
    name: LearnerName,
    context: ContextDep,
    actor: ActorDep,
    version: Annotated[int, Form(ge=1, le=MAX_INT)],
    expected: Annotated[int, Form(ge=0, le=MAX_INT)],
    move_head: Annotated[bool, Form()] = False,
) -> Response:
    """Serve another version, unless somebody else moved `live` since the page was shown."""
    target = f"/admin/learners/{name}"
    try:
        with context.session_factory.begin() as session:
            live_alias.move(session, actor, name, version, expected=expected, move_head=move_head)
    except ConflictError as conflict:
        return see(f"{target}/versions/{version}?problem={conflict.code}")
    context.watcher.wake()
    return see(f"{target}?done={'head-moved' if move_head else 'live-moved'}")


def own_page(address: str) -> str:
    """Return `address` if it is a page of the dashboard or the reference, else the first one: never another site.

    Example:
        >>> own_page("/admin/tasks"), own_page("//evil.example/admin"), own_page("/admin/../v1")
        ('/admin/tasks', '/admin', '/admin')
    """
    parts = urlsplit(address)
    is_ours = parts.path in ("/admin", REFERENCE) or parts.path.startswith("/admin/")
    is_plain = not parts.scheme and not parts.netloc and ".." not in address and "\\" not in address
    return address if is_ours and is_plain and address.isprintable() else "/admin"


def _change_task(
    request: Request,
    context: AppContext,
    actor: Actor,
    action: str,
    task_id: str,
    change: Callable[[Session, str], object],
    done: Mapping[TaskStatus, str] = MappingProxyType({}),
) -> Response:
    target = own_page(urlsplit(request.headers.get("referer", "")).path or "/admin/tasks")
    try:
        with context.session_factory.begin() as session:
            status = change_task(session, actor, action, task_id, change).status
        context.doorbell.wake()
    except ConflictError as conflict:
        return see(f"{target}?problem={conflict.code}")
    return see(f"{target}?done={done[status]}" if status in done else target)
