"""uvicorn's HTTP protocol with deadlines, and bounds on what one connection may ask for ahead.

uvicorn waits for ever for the rest of a request and for answers to be read, so a few idle sockets could take all
connections (slow headers, slow bodies, a body that never comes, answers nobody reads), gathers headers and pipelined
requests without end, and closes so that an answer may be lost. What is no HTTP at all gets a problem too. Which parts
of uvicorn this leans on: `tests/test_internals.py`.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.buckets import network_of
from service.http.connection_middleware import (
    MAX_UNREAD_BYTES,
    ConnectionMiddleware,
    declared_size,
    raw_problem,
)
from service.http.connections import Connections
from service.http.lingering_close import CountingTransport, LingeringClose, SlowReaderTimeout
from service.settings import ServiceSettings

MAX_HEAD_BYTES = 64 * 1024
"""Bytes of one request line and headers that may wait for the rest; what is complete is judged by the middleware."""
MAX_PIPELINED = 8
"""Requests that may wait on a connection for the one that is answered; what comes after them is not read."""
PIECE_BYTES = 4096
"""What is parsed at once of a head, or of a body in chunks: its end may hold the begin of more requests."""
MAX_DISCARDED_BYTES = 64 * 1024 * 1024
"""Bytes of a body that are thrown away before a connection ends on which a valid key was seen: many a client reads its
answer only when it has sent everything. Strangers have `MAX_UNREAD_BYTES`."""
FIRST_REQUEST_S, NEXT_REQUEST_S = 0.5, 0.05
"""How long a connection is kept for what is on its way when the service stops: a new one, and one that was answered."""


class DeadlineProtocol(HttpToolsProtocol):
    """Aborts a connection whose request arrives, or whose answer is read, slower than the settings allow."""

    grace_s = 10.0
    bytes_per_s = 100_000
    connections_open = Connections(1000)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app = ConnectionMiddleware(self.app, self.connections_open)
        self.address = ""
        self._key_id: str | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._started_at = 0.0
        self._received = 0
        self._head_bytes = 0
        self._is_in_message = False
        self._body_left: float | None = None
        """Bytes that the body being read has left; None between a body's end and the next one's begin."""
        self._unread, self._at = b"", 0
        """What has come and is not parsed yet, from a place on."""
        self._is_deaf = False
        """Whether nothing that comes is a request any more."""
        self._is_left = False
        """Whether the peer has sent all it will, and reads on."""
        self._n_ignored = 0
        self._n_unanswered = 0
        self._last_words: bytes | None = None
        self._lingering: LingeringClose | None = None

    # What uvicorn's server and the transport call

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first request."""
        outgoing = CountingTransport(transport, self._close)
        super().connection_made(outgoing)  # type: ignore[arg-type]
        self._outgoing = outgoing
        self._slow_reader = SlowReaderTimeout(
            outgoing, grace_s=self.grace_s, bytes_per_s=self.bytes_per_s
        )
        self.flow: _Flow = _Flow(outgoing)  # type: ignore[arg-type]
        self.address = network_of(self.client[0]) if self.client else ""
        self.connections_open.opened(self)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._disarm()
        self._slow_reader.stop()
        if self._lingering is not None:
            self._lingering.stop()
        self.connections_open.closed(self)
        self._unread = b""
        self._is_deaf = True
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, as far as requests may wait for each other."""
        if self._lingering is not None:
            self._lingering.came(len(data))
        elif self._is_deaf:
            self._n_ignored += len(data)
            self.flow.hold(self._n_ignored > MAX_UNREAD_BYTES)
        else:
            self._unread, self._at = self._unread[self._at :] + data, 0
            self._parse()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Go on with an answer of known length that has begun; all else has lost its reader, and the connection ends.

        What waits to be read is read before: the transport closes itself only after that.
        """
        self._is_left = self._is_in_mid_answer
        self._is_deaf = True
        if self._outgoing.waiting:
            self._slow_reader.start()
        return self._is_left

    def pause_writing(self) -> None:
        """Watch how fast answers are read."""
        super().pause_writing()
        self._slow_reader.start()

    def resume_writing(self) -> None:
        """Stop watching."""
        super().resume_writing()
        self._slow_reader.stop()

    def shutdown(self) -> None:
        """End after the answer that is under way, or after the one to what is just on its way here."""
        if self._is_busy:
            super().shutdown()
        else:
            is_first = self.cycle is None or self._is_in_message
            wait_s = FIRST_REQUEST_S if is_first else NEXT_REQUEST_S
            self.loop.call_later(wait_s, self._close_if_idle)

    # What the connections of the service ask

    @property
    def key_id(self) -> str | None:
        """The valid key that was last seen here."""
        if self.cycle is not None:
            principal = self.cycle.scope["state"].get("principal")
            self._key_id = getattr(principal, "key_id", self._key_id)
        return self._key_id

    def cut(self) -> None:
        """Close without a word."""
        self._outgoing.abort()

    def part(self) -> None:
        """Say that the connection ends with the answer that has not begun yet."""
        if self._is_busy and not self.cycle.response_started:
            self.cycle.keep_alive = False

    # What the parser calls

    def on_message_begin(self) -> None:
        """Start to wait for the rest of a request."""
        super().on_message_begin()
        self._is_in_message = True
        self._head_bytes = 0
        self._arm()

    def on_headers_complete(self) -> None:
        """Start the request, or let it wait."""
        self._head_bytes = 0
        super().on_headers_complete()
        self._body_left = declared_size(self.headers)
        if self.connections_open.is_draining:
            self.cycle.keep_alive = False
        self._n_unanswered += 1
        if self._n_unanswered == 1:
            self.connections_open.began(self)

    def on_body(self, body: bytes) -> None:
        """Count what came."""
        self._received += len(body)
        self._body_left = max(1.0, (self._body_left or 0.0) - len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop waiting: the request is complete."""
        self._is_in_message = False
        self._body_left = None
        self._disarm()
        super().on_message_complete()
        self._is_deaf = not self.cycle.keep_alive

    def on_response_complete(self) -> None:
        """Go on with what has come meanwhile."""
        self._n_unanswered -= 1
        if not self._is_busy:
            self.connections_open.rested(self)
        if self._lingering is not None or self.transport.is_closing():
            return
        super().on_response_complete()
        self._parse()
        if self._is_busy:
            return
        if self._last_words is not None:
            self.transport.write(self._last_words)
            self._close()
        elif self._is_left:
            self._close()
        elif self._outgoing.waiting:
            self._slow_reader.start()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP request."""
        self._refuse("malformed-request")

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: an upgrade that is not offered is ignored, as RFC 9110 has it, and is no news."""

    # How it reads

    @property
    def _is_busy(self) -> bool:
        return self._n_unanswered > 0

    @property
    def _is_in_mid_answer(self) -> bool:
        if not self._is_busy or self.pipeline:
            return False
        return self.cycle.response_started and self.cycle.expected_content_length > 0

    def _parse(self) -> None:
        """Parse what has come, a request at a time, until enough of them wait.

        Line breaks between two requests are no request, but uvicorn stops its keep-alive clock for them: they start
        ours.
        """
        while self._at < len(self._unread) and not self._is_deaf and self._may_ask:
            end = self._end_of_piece()
            piece, self._at = self._unread[self._at : end], end
            n_received = self._received
            super().data_received(piece)
            if self._received == n_received:
                self._count_head(len(piece))
            if not self._is_busy and self._deadline is None:
                self._arm()
        if self._at == len(self._unread) or self._is_deaf:
            self._unread, self._at = b"", 0
        if self._lingering is None:
            self.flow.hold(not self._may_ask)

    @property
    def _may_ask(self) -> bool:
        return len(self.pipeline) < MAX_PIPELINED

    def _end_of_piece(self) -> int:
        """Return where to stop parsing: at the end of a head or body, as far as that can be told."""
        at, end = self._at, len(self._unread)
        if self._body_left is None:
            head_end = self._unread.find(b"\r\n\r\n", at, at + PIECE_BYTES)
            return head_end + 4 if head_end >= 0 else min(end, at + PIECE_BYTES)
        if self._body_left == float("inf"):
            return min(end, at + PIECE_BYTES)
        return min(end, at + int(self._body_left))

    def _count_head(self, n_bytes: int) -> None:
        """Refuse a head without end, and one behind a body in chunks."""
        self._head_bytes += n_bytes
        if self._is_in_message and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse("headers-too-large" if self.headers else "uri-too-long")

    # How it ends

    def _refuse(self, code: str) -> None:
        """Answer with a problem without asking the app, after the answers that are under way, and close."""
        if self._is_deaf or self._lingering is not None or self.transport.is_closing():
            return
        self._is_deaf = True
        self._disarm()
        if self._body_left is not None:
            if not self.pipeline:
                self._give_up(code)
                return
            self.pipeline.popleft()  # the newest, and not begun
            self._n_unanswered -= 1
        if self._is_busy:
            self._last_words = raw_problem(code)
        else:
            self.transport.write(raw_problem(code))
            self._close()

    def _give_up(self, code: str) -> None:
        """End the request whose body is broken: for the app its client has left."""
        if not self.cycle.response_started:
            self.transport.write(raw_problem(code))
        if not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._close()

    def _close_if_idle(self) -> None:
        if not self._is_busy:
            self._close()

    def _close(self) -> None:
        """Close after what was said, but not before its reader had a moment to read it."""
        if self._lingering is not None or self.transport.is_closing():
            return
        self._disarm()
        self._unset_keepalive_if_required()
        self._unread, self._at = b"", 0
        self.pipeline.clear()
        self.flow.hold(False)
        self.flow.resume_reading()
        # A peer who has gone is noticed here first when the answer had no body.
        with suppress(OSError):
            self.transport.write_eof()
        most_bytes = MAX_UNREAD_BYTES if self.key_id is None else MAX_DISCARDED_BYTES
        self._lingering = LingeringClose(
            self._outgoing,
            self._slow_reader,
            most_bytes=most_bytes,
            is_sending=self._is_in_message,
        )

    def _arm(self) -> None:
        self._disarm()
        if self._lingering is not None or self.transport.is_closing():
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


class _Flow(FlowControl):
    """uvicorn's flow control, whose every `receive` reads on, with a reason not to."""

    _is_held = False

    def hold(self, is_held: bool) -> None:
        """Read nothing, or as uvicorn wishes."""
        if is_held == self._is_held:
            return
        self._is_held = is_held
        if is_held:
            self.pause_reading()
        else:
            self.resume_reading()

    def resume_reading(self) -> None:
        """Read on, unless that is held."""
        if not self._is_held:
            super().resume_reading()


def deadline_protocol(
    settings: ServiceSettings, connections: Connections
) -> Callable[..., DeadlineProtocol]:
    """Return the protocol class with the deadlines of these settings; uvicorn takes a class."""
    return type(
        "ConfiguredProtocol",
        (DeadlineProtocol,),
        {
            "grace_s": settings.request_deadline_s,
            "bytes_per_s": settings.body_bytes_per_s,
            "connections_open": connections,
        },
    )
