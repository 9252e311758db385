"""Reading the dashboard's forms: within their limits, and never on the event loop.

Starlette's own parser walks over a form byte by byte on the event loop, and does not count fields that are empty.
"""

from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from service.intake.multipart import read_form
from service.intake.spool import Spool
from service.problems import Problem
from service.strict_json import media_type

MOST_FIELDS = 500
"""More than the longest form has, a new key for 200 learners."""


class PageRequest(Request):
    """A request whose `form()` is read off the event loop."""

    async def form(self, **limits: Any) -> FormData:  # type: ignore[override]
        """Return the form; an empty one for a body of another kind. How long it may be is the body's limit.

        Raises:
            Problem: `too-many-parts`, `part-too-large` or `malformed-multipart`.
        """
        kind = media_type(self)
        if kind == "application/x-www-form-urlencoded":
            return await run_in_threadpool(parse_fields, await self.body())
        return await self._read_parts() if kind == "multipart/form-data" else FormData()

    async def _read_parts(self) -> FormData:
        with Spool() as spool:
            form = await read_form(self, spool, max_files=1, max_fields=MOST_FIELDS)
            parts: list[tuple[str, str | UploadFile]] = list(form.fields)
            for file in form.files:
                data = await run_in_threadpool(spool.read, file.offset, file.size)
                upload = UploadFile(BytesIO(data), size=file.size, filename=file.filename)
                parts.append((file.name, upload))
            return FormData(parts)


def parse_fields(body: bytes) -> FormData:
    """Return the fields of a form as browsers send it. What is between two `&` counts as one, also if it is empty.

    Raises:
        Problem: `too-many-parts`.

    Example:
        >>> parse_fields(b"key=a+b&next=%2Fadmin&&empty=").multi_items()
        [('key', 'a b'), ('next', '/admin'), ('empty', '')]
    """
    try:
        pairs = parse_qsl(
            body.decode("latin-1"), keep_blank_values=True, max_num_fields=MOST_FIELDS
        )
    except ValueError:
        raise Problem("too-many-parts") from None
    fields: list[tuple[str, str | UploadFile]] = [*pairs]
    return FormData(fields)
