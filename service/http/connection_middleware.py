"""What stands before the app: what the state of all connections and of a request's body adds to an answer."""

import json
import math
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any

from uvicorn._types import ASGI3Application

from registry.ids import new_id
from service.http.connections import Connections
from service.problems import MEDIA_TYPE, Problem, problem_body, problem_response

HEALTH = ("/livez", "/readyz")
"""What is answered however many requests are under way."""
MAX_UNREAD_BYTES = 1024 * 1024
"""Bytes of a body that may be thrown away after the request was answered, so that the connection can go on."""
PIECE_BYTES = 64 * 1024
"""Of an answer, handed to the connection at once: as much as it takes before it says that enough waits."""
BUSY_DETAIL = "All connections are in use: wait as long as Retry-After says."


class ConnectionMiddleware:
    """The app for one protocol.

    `Connection: close` is said to who was answered with much of the body still to come: without it the rest, gigabytes
    perhaps, would be read to be thrown away. Long answers are sent in pieces: one that nobody reads must not wait in
    memory. While more requests are under way than there may be connections, only health is answered.
    """

    def __init__(self, app: ASGI3Application, connections: Connections) -> None:
        self._app = app
        self._connections = connections

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        outstanding = declared_size(scope.get("headers", ()))

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
            for piece in _pieces(message):
                await send(piece)

        if self._connections.is_full and not scope["path"].endswith(HEALTH):
            await _overloaded(scope, counting, parting)
        else:
            await self._app(scope, counting, parting)


def _pieces(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Split what is sent of a body, so that more of it is taken up only when the peer has taken what was before."""
    body = message.get("body", b"")
    for at in range(0, len(body) - PIECE_BYTES, PIECE_BYTES):
        yield {**message, "body": body[at : at + PIECE_BYTES], "more_body": True}
    at = max(0, (len(body) - 1) // PIECE_BYTES * PIECE_BYTES)
    yield {**message, "body": body[at:]} if at else message


async def _overloaded(scope: Any, receive: Any, send: Any) -> None:
    request_id = new_id("req")
    problem = Problem(
        "overloaded", BUSY_DETAIL, headers={"Connection": "close", "X-Request-Id": request_id}
    )
    await problem_response(problem, request_id)(scope, receive, send)


def raw_problem(code: str) -> bytes:
    """Return a whole answer that says a problem and that the connection ends, for what no app is asked about."""
    problem = Problem(code)
    request_id = new_id("req")
    content = json.dumps(problem_body(problem, request_id)).encode()
    head = (
        f"HTTP/1.1 {problem.status_code} {HTTPStatus(problem.status_code).phrase}\r\n"
        f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(content)}\r\nx-request-id: {request_id}\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode() + content


def declared_size(headers: Iterable[tuple[bytes, bytes]]) -> float:
    """Return how many bytes a body says it has; one in chunks may have any number."""
    for name, value in headers:
        if name == b"transfer-encoding":
            return math.inf
        if name == b"content-length":
            return int(value)
    return 0
