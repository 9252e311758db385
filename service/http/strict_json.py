"""JSON read by the letter: what would break a database or a JSON answer later is refused at the door.

Stock FastAPI answers 500 to NaN and to lone surrogates, since it cannot echo them. Of keys that come twice the last one
counts.
"""

import math
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.datastructures import DefaultPlaceholder
from fastapi.routing import APIRoute
from fastapi.utils import is_body_allowed_for_status_code
from pydantic_core import from_json
from starlette.concurrency import run_in_threadpool

from service.dependencies import RoleCheck, get_principal
from service.http import accept
from service.http.problems import FieldError, Problem

MAX_INLINE_BYTES = 4 * 1024
"""JSON that is parsed on the event loop: well below a millisecond, whatever it holds."""
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})


def parse_json(body: bytes) -> Any:
    """Parse one JSON document.

    Raises:
        Problem: `malformed-json`, or `validation` for a number or string that can be written but not stored.
    """
    try:
        value = from_json(body, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        raise Problem("malformed-json") from error
    _check(value, "")
    return value


def _check(value: Any, pointer: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _check(key, pointer)
            _check(item, f"{pointer}/{safe_token(key)}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check(item, f"{pointer}/{index}")
    elif isinstance(value, str) and "\0" in value:
        _refuse(pointer, "Text must not hold the character U+0000.")
    elif isinstance(value, float) and not math.isfinite(value):
        _refuse(pointer, "The number is out of range.")


def _refuse(pointer: str, detail: str) -> None:
    raise Problem("validation", errors=(FieldError(pointer, detail),))


def safe_token(part: object) -> str:
    """Return one step of a JSON pointer, cut, and safe to encode."""
    text = str(part)[:64].encode("ascii", "replace").decode("ascii")
    return text.replace("~", "~0").replace("/", "~1")


class StrictRequest(Request):
    """A request whose `json()` is `parse_json`."""

    async def json(self) -> Any:
        """Return the parsed body; a long one is parsed by a thread, since 1 MiB of brackets takes a while."""
        body = await self.body()
        if len(body) <= MAX_INLINE_BYTES:
            return parse_json(body)
        return await run_in_threadpool(parse_json, body)


class StrictRoute(APIRoute):
    """The route class of every router: the caller's role first, then 406, then strict JSON and 415 for another body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler."""
        handler = super().get_route_handler()
        wants_json = self.body_field is not None
        checks = [d.dependency for d in self.dependencies if isinstance(d.dependency, RoleCheck)]
        offered = offered_types(self)

        async def strict(request: Request) -> Response:
            for check in checks:
                check(get_principal(request))
            accept.require(request.headers.get("accept", ""), offered)
            strict_request = StrictRequest(request.scope, request.receive)
            if wants_json and request.method in _BODY_METHODS:
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


def media_type(request: Request) -> str:
    """Return the body's media type in lower case, without parameters."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()
