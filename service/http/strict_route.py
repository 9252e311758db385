"""The class of every route of the API: what is asked of a request before its endpoint runs."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.datastructures import DefaultPlaceholder
from fastapi.routing import APIRoute
from fastapi.utils import is_body_allowed_for_status_code

from service.http import accept
from service.http.demands import NOTHING_SPECIAL
from service.http.roles import RoleCheck, principal_of
from service.problems import Problem
from service.strict_json import StrictRequest, media_type

_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})


class StrictRoute(APIRoute):
    """The route class of every router: the caller's role first, then 406, then strict JSON and 415 for another body."""

    demands = NOTHING_SPECIAL
    """Of endpoints that declare none of their own."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler, which finds the role checked."""
        self.dependant.dependencies = [
            needed
            for needed in self.dependant.dependencies
            if not isinstance(needed.call, RoleCheck)
        ]
        handler = super().get_route_handler()
        wants_json = self.body_field is not None
        needs_json = self.body_field is not None and self.body_field.field_info.is_required()
        checks = [d.dependency for d in self.dependencies if isinstance(d.dependency, RoleCheck)]
        offered = offered_types(self)

        async def strict(request: Request) -> Response:
            for check in checks:
                check.check(principal_of(request))
            accept.require(request.headers.get("accept", ""), offered)
            strict_request = StrictRequest(request.scope, request.receive)
            may_have_json = wants_json and request.method in _BODY_METHODS
            if may_have_json and (needs_json or await strict_request.body()):
                await _require_json(strict_request)
            return await handler(strict_request)

        return strict


def offered_types(route: APIRoute) -> list[str]:
    """Return the media types that a route answers in: what it declares for 200, or its response class has.

    None for a route that answers without a body, or whose class does not say what it holds.
    """
    if not is_body_allowed_for_status_code(route.status_code):
        return []
    declared = route.responses.get(200, {}).get("content", {})
    response_class = (
        route.response_class.value
        if isinstance(route.response_class, DefaultPlaceholder)
        else route.response_class
    )
    own = response_class.media_type
    if route.response_model is None and declared:
        return list(declared)
    return list(dict.fromkeys([*([own] if own else []), *declared]))


async def _require_json(request: Request) -> None:
    kind = media_type(request)
    if kind != "application/json" and not kind.endswith("+json"):
        raise Problem("unsupported-media-type", "Send the body as application/json.")
    if not await request.body():
        raise Problem("malformed-json", "The body is empty.")
