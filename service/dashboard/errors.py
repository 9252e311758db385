"""Problems as pages: what a browser sees where a program gets problem+json."""

from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Scope

from service.dashboard.rendering import PAGE_HEADERS, render
from service.dashboard.sentences import told
from service.problems import PROBLEMS, Problem

REFERENCE = "/docs"
"""The API reference: a page in the dashboard's frame, at an address of its own."""


def page_for(problem: Problem, scope: Scope) -> Response | None:
    """Return a page for a problem under `/admin`, or of the API reference, or None where a program asks.

    Without a valid session that is the login page, which leads back to where the browser wanted to go.
    """
    if not _wants_page(scope):
        return None
    if problem.code == "unauthorized":
        return RedirectResponse(login_url(scope), status_code=303)
    body = render(
        "error.html",
        viewer=None,
        section="",
        title=PROBLEMS[problem.code].title,
        detail=told(problem),
    )
    return HTMLResponse(body, problem.status_code, headers=PAGE_HEADERS)


def login_url(scope: Scope) -> str:
    """Return the address of the login page that leads back to this one afterwards."""
    if scope["method"] != "GET":
        return "/admin/login"
    query = scope["query_string"].decode("ascii", "replace")
    target = scope["path"] + (f"?{query}" if query else "")
    return f"/admin/login?next={quote(target[:500])}"


def _wants_page(scope: Scope) -> bool:
    path = scope["path"]
    is_ours = path in ("/admin", REFERENCE) or path.startswith("/admin/")
    return is_ours and "text/html" in Headers(scope=scope).get("accept", "")
