"""JSON read by the letter: what would break a database or a JSON answer later is refused at the door.

Stock FastAPI answers 500 to NaN and to lone surrogates, since it cannot echo them. Of keys that come twice the last one
counts.
"""

import math
from typing import Any

from fastapi import Request
from pydantic_core import from_json
from starlette.concurrency import run_in_threadpool

from service.problems import FieldError, Problem

MAX_INLINE_BYTES = 4 * 1024
"""JSON that is parsed on the event loop: well below a millisecond, whatever it holds."""


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


def media_type(request: Request) -> str:
    """Return the body's media type in lower case, without parameters."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()
