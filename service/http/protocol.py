"""uvicorn's HTTP protocol with deadlines: a connection that trickles its request is dropped.

uvicorn waits for ever for the rest of a request, so a few idle sockets could take all connections (reliability: slow
headers, slow bodies, a body that never comes).
"""

import asyncio
from time import monotonic
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.settings import ServiceSettings


class DeadlineProtocol(HttpToolsProtocol):
    """Aborts a connection whose request arrives slower than the settings allow."""

    grace_s = 10.0
    bytes_per_s = 100_000

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._started_at = 0.0
        self._received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first request."""
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._disarm()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Start to wait for the rest of a request."""
        super().on_message_begin()
        self._arm()

    def on_body(self, body: bytes) -> None:
        """Count what came."""
        self._received += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop waiting: the request is complete."""
        self._disarm()
        super().on_message_complete()

    def _arm(self) -> None:
        self._disarm()
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


def deadline_protocol(settings: ServiceSettings) -> type[DeadlineProtocol]:
    """Return the protocol class with the deadlines of these settings; uvicorn takes a class."""
    return type(
        "ConfiguredProtocol",
        (DeadlineProtocol,),
        {"grace_s": settings.request_deadline_s, "bytes_per_s": settings.body_bytes_per_s},
    )
