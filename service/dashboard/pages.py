"""How a page is answered, and how a problem on the way to it is shown."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import HTMLResponse, RedirectResponse

from registry.errors import RegistryError
from service.dashboard.errors import page_for
from service.dashboard.forms import PageRequest
from service.dashboard.rendering import PAGE_HEADERS, render
from service.dashboard.sentences import ON_PAGES
from service.http.demands import Demands, form_bytes
from service.http.roles import RoleCheck, principal_of
from service.http.security import Principal
from service.problems import Problem
from service.registry_problems import problem_of

FORM_INVALID = ON_PAGES["validation"]


def page(
    template: str, viewer: Principal | None, *, section: str = "", status: int = 200, **values: Any
) -> HTMLResponse:
    """Render a page for whoever looks at it.

    `notice` is a sentence about what just went wrong, `done` one about what was just done.
    """
    values = {"notice": None, "done": None} | values
    body = render(template, viewer=viewer, section=section, **values)
    return HTMLResponse(body, status, headers=PAGE_HEADERS)


def see(address: str) -> Response:
    """Send a browser whose form was taken to a page."""
    return RedirectResponse(address, status_code=303)


def picture(data: bytes, *, max_age_s: int, media_type: str = "image/png") -> Response:
    """Return a stored image such that a browser shows it, keeps it for a while, and runs nothing of it."""
    headers = {
        "Cache-Control": f"private, max-age={max_age_s}, immutable",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
        "Content-Disposition": "inline",
    }
    return Response(data, media_type=media_type, headers=headers)


DONE = {
    "live-moved": "Another version is live now: predictions follow within seconds.",
    "head-moved": "Another version is live now, and the next task builds on it.",
    "task-published": "The task is published, and live within seconds.",
    "task-released": "The task waits to be learned now, whatever was found in its images.",
    "consolidation-asked": "It is consolidated as soon as no task of the learner waits.",
    "class-changed": "The class is changed: answers follow within seconds.",
    "imported": "The learner is imported: it answers as it did there, and can be taught on.",
    "unlearning": "It is unlearned now, behind what was asked for before. Until then the learner answers as ever.",
    "job-deleted": "The job is deleted.",
    "test-sent": "A test is on its way: reload this page to see what became of it.",
    "message-sent": "The message is on its way: reload this page to see what became of it.",
    "notification-on": "Messages are sent again, also those that waited.",
    "notification-off": "Nothing is sent until it is turned on again.",
    "notification-deleted": "The notification is deleted, with its messages.",
    "key-limited": "The key is limited otherwise: that holds within seconds.",
    "key-revoked": "The key is revoked: it is refused from now on.",
}
"""What a page says when the form that led to it has worked, by code."""


class PageRoute(APIRoute):
    """A route that asks for the role before it reads a form, and whose problems are pages, where a browser asks."""

    demands = Demands(max_bytes=form_bytes)
    """Of endpoints that declare none of their own."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the endpoint."""
        handle = super().get_route_handler()
        checks = [d.dependency for d in self.dependencies if isinstance(d.dependency, RoleCheck)]

        async def handle_with_pages(request: Request) -> Response:
            try:
                for check in checks:
                    check.check(principal_of(request))
                return await handle(PageRequest(request.scope, request.receive))
            except (Problem, RegistryError, RequestValidationError) as error:
                answer = page_for(as_problem(error), request.scope)
                if answer is None:
                    raise
                return answer

        return handle_with_pages


def as_problem(error: Exception) -> Problem:
    """Return the problem that an error on the way to a page is."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RegistryError):
        return problem_of(error) or Problem("internal")
    if isinstance(error, RequestValidationError):
        in_form = any(item["loc"][:1] == ("body",) for item in error.errors())
        return Problem("validation", FORM_INVALID) if in_form else Problem("not-found")
    return Problem("internal")
