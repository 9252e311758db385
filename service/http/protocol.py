"""uvicorn's HTTP protocol with deadlines and a bound on what comes before a body.

uvicorn waits for ever for the rest of a request, so a few idle sockets could take all connections (slow headers, slow
bodies, a body that never comes), and gathers headers without end. What is no HTTP at all gets a problem too.
"""

import asyncio
import json
import math
from collections.abc import Callable, Iterable
from http import HTTPStatus
from time import monotonic
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from registry.ids import new_id
from service.http.problems import MEDIA_TYPE, Problem, problem_body
from service.settings import ServiceSettings

MAX_HEAD_BYTES = 64 * 1024
"""Bytes of request line and headers that may wait for the rest; what is complete is judged by the middleware."""
MAX_UNREAD_BYTES = 1024 * 1024
"""Bytes of a body that may be thrown away after the request was answered, so that the connection can go on."""
LINGER_S = 0.5
"""How long a sender that we stopped listening to may read our answer; chosen, untested."""


class DeadlineProtocol(HttpToolsProtocol):
    """Aborts a connection whose request arrives slower than the settings allow."""

    grace_s = 10.0
    bytes_per_s = 100_000

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._started_at = 0.0
        self._received = 0
        self._head_bytes = 0
        self._is_reading = False
        self._is_hanging_up = False
        self.app = _Farewell(self.app)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first request."""
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and refuse a head without end.

        Line breaks between two requests are no request, but uvicorn stops its keep-alive clock for them: they start
        ours.
        """
        if self._is_hanging_up:
            return
        super().data_received(data)
        if self._is_reading and self._head_bytes >= 0:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse("headers-too-large" if self.headers else "uri-too-long")
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and self._deadline is None:
            self._arm()

    def on_message_begin(self) -> None:
        """Start to wait for the rest of a request."""
        super().on_message_begin()
        self._is_reading = True
        self._head_bytes = 0
        self._arm()

    def on_headers_complete(self) -> None:
        """Stop counting the head."""
        self._head_bytes = -1
        super().on_headers_complete()
        if self.cycle is not None:
            self.cycle.transport = _Parting(self.transport, self._close)  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        """Count what came."""
        self._received += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop waiting: the request is complete."""
        self._is_reading = False
        self._disarm()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP request."""
        self._refuse("malformed-request")

    def _refuse(self, code: str) -> None:
        """Answer with a problem without asking the app, and close."""
        if self._is_hanging_up or self.transport.is_closing():
            return
        problem = Problem(code)
        content = json.dumps(problem_body(problem, new_id("req"))).encode()
        head = (
            f"HTTP/1.1 {problem.status_code} {HTTPStatus(problem.status_code).phrase}\r\n"
            f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + content)
        self._hang_up()

    def _close(self) -> None:
        """Close after an answer; a sender who was refused in the middle of a body gets a moment to read it."""
        if self._is_reading:
            self._hang_up()
        else:
            self.transport.close()

    def _hang_up(self) -> None:
        """Close for good, but not before the sender had a moment to read what we said.

        Closing at once would reset the connection while bytes are on their way, and the answer would be lost.
        """
        if self._is_hanging_up or self.transport.is_closing():
            return
        self._is_hanging_up = True
        self._disarm()
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()  # the app still answers: it learns of it as of a client that left
            return
        self.flow.pause_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.abort)

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: an upgrade that is not offered is ignored, as RFC 9110 has it, and is no news."""

    def _arm(self) -> None:
        self._disarm()
        if self._is_hanging_up or self.transport.is_closing():
            return
        self._started_at = monotonic()
        self._received = 0
        self._deadline = self.loop.call_later(self.grace_s, self._check)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _check(self) -> None:
        """Abort if too little has come; while we do not read ourselves, the sender is not to blame."""
        self._deadline = None
        if self.transport.is_closing():
            return
        expected = (monotonic() - self._started_at - self.grace_s) * self.bytes_per_s
        if self.flow.read_paused:
            self._started_at = monotonic()
        elif self._received == 0 or self._received < expected:
            self.transport.abort()
            return
        self._deadline = self.loop.call_later(self.grace_s / 4, self._check)


class _Farewell:
    """Says `Connection: close` to who was answered with much of the body still to come.

    Without it the rest, gigabytes perhaps, would be read to be thrown away.
    """

    def __init__(self, app: ASGI3Application) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        outstanding = _declared_size(scope.get("headers", ()))

        async def counting() -> Any:
            nonlocal outstanding
            message = await receive()
            outstanding -= len(message.get("body", b""))
            if not message.get("more_body", False):
                outstanding = 0
            return message

        async def parting(message: Any) -> None:
            if message["type"] == "http.response.start" and outstanding > MAX_UNREAD_BYTES:
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        await self._app(scope, counting, parting)


def _declared_size(headers: Iterable[tuple[bytes, bytes]]) -> float:
    """Return how long a body says it is; one in chunks may be of any length."""
    for name, value in headers:
        if name == b"transfer-encoding":
            return math.inf
        if name == b"content-length":
            return int(value)
    return 0


class _Parting:
    """A transport whose `close` is another one."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self._transport = transport
        self.close = close

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def deadline_protocol(settings: ServiceSettings) -> type[DeadlineProtocol]:
    """Return the protocol class with the deadlines of these settings; uvicorn takes a class."""
    return type(
        "ConfiguredProtocol",
        (DeadlineProtocol,),
        {"grace_s": settings.request_deadline_s, "bytes_per_s": settings.body_bytes_per_s},
    )
