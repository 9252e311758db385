"""Requests, described without being sent, and how their sending goes.

An *exchange* is something that can be asked of the service: one call, or all pages of a list. Its `steps` are a
generator that says what to do next, send a request or pause, and is told what came of it. All decisions are made in
there; the two clients only differ in how they take a step.
"""

import json
import secrets
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import IO, Any, Generic, Protocol, TypeVar
from urllib.parse import quote

import httpx

from service.remote.errors import ProblemError, UnexpectedReplyError, UnreachableError
from service.remote.retries import Retries

ReplyT = TypeVar("ReplyT")
ReplyT_co = TypeVar("ReplyT_co", covariant=True)
ItemT = TypeVar("ItemT")

PAGE = 200
"""Items a page: the most the service gives."""
CHUNK_BYTES = 1 << 20
REPEATABLE = frozenset({"GET", "PUT", "PATCH", "DELETE"})
"""Methods whose second copy changes nothing more; our PATCH replaces a value."""

Body = Callable[[], AbstractContextManager[IO[bytes]]]
"""Opens a long body, to be read from its start for each attempt."""
Files = Sequence[tuple[str, tuple[str | None, bytes, str]]]
"""Parts of a multipart form: field, and file name, content, media type."""


@dataclass(frozen=True)
class Pause:
    """A step: do nothing for a while."""

    seconds: float


@dataclass(frozen=True)
class Request:
    """A step: send this, and come back with the answer or httpx's error."""

    method: str
    path: str
    options: Mapping[str, Any]
    """What else `httpx.Client.build_request` takes."""
    silence_s: float | None = None
    """Longest silence to wait for, where it is more than the client's."""
    into: Path | None = None
    """File for the body of a success, where it is too large for memory."""


Steps = Generator[Request | Pause, Any, ReplyT]


class Exchange(Protocol[ReplyT_co]):
    """Something that can be asked of the service."""

    @property
    def body(self) -> Body | None:
        """What opens the body to send, if it is a long one."""

    def steps(self, retries: Retries) -> Steps[ReplyT_co]:
        """Yield what to do; return the reply."""


def read_json(response: httpx.Response) -> Any:
    """Return the JSON of an answer.

    Raises:
        UnexpectedReplyError: If it is none.
    """
    try:
        return response.json()
    except ValueError as error:
        raise UnexpectedReplyError(
            f"{response.url} answered, but not with JSON: is that the address of Filopodia?"
        ) from error


def read_items(response: httpx.Response) -> Any:
    """Return the items of a list that comes whole."""
    return read_json(response)["items"]


def read_nothing(response: httpx.Response) -> None:
    """Leave an answer that says nothing but that it is done."""


def read_text(response: httpx.Response) -> str:
    """Return an answer's text."""
    return response.text


def read_bytes(response: httpx.Response) -> bytes:
    """Return an answer's bytes."""
    return response.content


def given(**values: Any) -> dict[str, Any]:
    """Return the values that were given: None leaves the choice to the service."""
    return {name: value for name, value in values.items() if value is not None}


def as_params(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as query parameters: objects as JSON."""
    return {
        name: json.dumps(value) if isinstance(value, dict) else value
        for name, value in values.items()
    }


@dataclass(frozen=True)
class Call(Generic[ReplyT]):
    """One request and how its answer is read."""

    method: str
    template: str
    """Path as the OpenAPI schema has it: `/v1/learners/{name}`."""
    places: Mapping[str, Any] = field(default_factory=dict)
    """What stands in the template's braces."""
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    files: Files | None = None
    body: Body | None = None
    creates: bool = False
    """Whether it carries an `Idempotency-Key`, so that sending it again never does a thing twice."""
    is_harmless: bool = False
    """Whether a second copy does no harm though the method does not say so."""
    silence_s: float | None = None
    """Longest silence to wait for, where it is more than the client's."""
    into: Path | None = None
    """File for the body of a success, where it is too large for memory."""
    replies_with: frozenset[int] = frozenset()
    """Statuses beside those of success whose answer is a reply, not a problem."""
    read: Callable[[httpx.Response], ReplyT] = read_json

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be sent again although the first copy may have arrived."""
        # Once the first copy was carried out, what `If-Match` names is old: the second would be refused.
        is_fixed = "If-Match" in self.headers
        return self.creates or self.is_harmless or (self.method in REPEATABLE and not is_fixed)

    @property
    def path(self) -> str:
        """Path with everything in its place."""
        return self.template.format(
            **{name: quote(str(value), safe="") for name, value in self.places.items()}
        )

    def request(self) -> Request:
        """Return what to send; with an idempotency key of its own unless one was given."""
        headers = dict(self.headers)
        if self.creates:
            headers.setdefault("Idempotency-Key", secrets.token_hex(16))
        content = given(json=self.json, files=self.files)
        options = {"params": self.params, "headers": headers, **content}
        return Request(self.method, self.path, options, self.silence_s, self.into)

    def steps(self, retries: Retries) -> Steps[ReplyT]:
        """Send it, again where that is safe and can help, and return the reply.

        Raises:
            ProblemError: If the service says no.
            UnreachableError: If it does not answer.
            UnexpectedReplyError: If something else answers.
        """
        request = self.request()
        for number in count():
            failure: ProblemError | UnreachableError
            try:
                response: httpx.Response = yield request
            except httpx.TransportError as error:
                failure = UnreachableError(error)
                failure.__cause__ = error
            else:
                if response.is_success or response.status_code in self.replies_with:
                    return self.read(response)
                failure = ProblemError(response)
            pause_s = retries.pause_s(number, failure, is_repeatable=self.is_repeatable)
            if pause_s is None:
                raise failure
            yield Pause(pause_s)
        raise AssertionError("count() does not end")


@dataclass(frozen=True)
class Pages(Generic[ItemT]):
    """A list that the service gives page by page."""

    template: str
    places: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None
    """Most items to read; None for all."""
    body: None = None

    def call(self, cursor: str | None = None, *, n: int = PAGE) -> Call[Any]:
        """Return the request for one page of `n` items."""
        params = {**self.params, "limit": n, **given(cursor=cursor)}
        return Call("GET", self.template, self.places, params)

    def steps(self, retries: Retries) -> Steps[list[ItemT]]:
        """Read page after page and return all items, or the first `limit`."""
        items: list[ItemT] = []
        cursor = None
        while self.limit is None or len(items) < self.limit:
            n = PAGE if self.limit is None else min(PAGE, self.limit - len(items))
            page = yield from self.call(cursor, n=n).steps(retries)
            items += page["items"]
            cursor = page.get("next_cursor")
            if not cursor:
                break
        return items[: self.limit]
