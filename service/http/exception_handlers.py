"""Where errors turn into problems: inner families, FastAPI's own, and the unexpected."""

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from models.errors import LearnerError
from registry.errors import RegistryError
from service.problems import PageFor, Problem, problem_response
from service.registry_problems import problem_of
from service.validation import field_errors

log = structlog.get_logger(__name__)

_BY_STATUS = {
    400: "malformed-multipart",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    413: "body-too-large",
}


def install(app: FastAPI, page_for: PageFor) -> None:
    """Register all handlers. What none of them takes ends in `service.http.middleware`, as a 500."""
    app.state.page_for = page_for
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(RegistryError, _on_registry_error)
    app.add_exception_handler(LearnerError, _on_unexpected)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)


def answer(request: Request, problem: Problem) -> Response:
    """Return the response for a problem of this request: a page for a browser in the dashboard, else problem+json."""
    page_for: PageFor = request.app.state.page_for
    page = page_for(problem, request.scope)
    return page or problem_response(problem, request.state.request_id)


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return answer(request, error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _BY_STATUS.get(error.status_code, "not-found" if error.status_code < 500 else "internal")
    return answer(request, Problem(code, headers=dict(error.headers or {})))


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    findings = error.errors()
    if any(finding["type"] == "json_invalid" for finding in findings):
        return answer(request, Problem("malformed-json"))
    return answer(request, Problem("validation", errors=field_errors(findings, "")))


async def _on_registry_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RegistryError)
    problem = problem_of(error)
    if problem is None:
        return await _on_unexpected(request, error)
    return answer(request, problem)


async def _on_disconnect(request: Request, error: Exception) -> Response:
    return answer(request, Problem("client-closed"))


async def _on_unexpected(request: Request, error: Exception) -> Response:
    log.error("unexpected_error", request_id=request.state.request_id, exc_info=error)
    return answer(request, Problem("internal"))
