"""How a connection ends: what was said to its peer arrives, and a peer who does not read it is not waited for."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

LINGER_S = 0.5
"""How long a connection stays open without a byte from a peer who has our answer; chosen, untested."""
SENDING_S = 5.0
"""The same for one who was refused in the middle of a body: he may be held up, and reads only when he has sent all."""
MAX_HELD_BYTES = 16 * 1024
"""Of an answer, kept back for what may come in the same turn of the event loop."""
MAX_LINGER_S = 30.0
"""How long at most the rest of a body is read to be thrown away."""


class CountingTransport:
    """A transport that counts what is written, and whose `close` is another one.

    What is written in one turn of the event loop goes out together: the head and the body of an answer, as a rule.
    Each call of the system lets go of the interpreter, and waits for it.
    """

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self._transport = transport
        self.close = close
        self._written = 0
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send bytes, few of them at the end of this turn of the event loop, as soon as the peer takes them."""
        self._written += len(data)
        if not self._held and len(data) < MAX_HELD_BYTES:
            asyncio.get_running_loop().call_soon(self._send_held)
        self._held.append(data)
        # More must reach the transport, which says when enough waits.
        if sum(map(len, self._held)) >= MAX_HELD_BYTES:
            self._send_held()

    def write_eof(self) -> None:
        """End our side after what was written."""
        self._send_held()
        self._transport.write_eof()

    def _send_held(self) -> None:
        if self._held:
            data, self._held = b"".join(self._held), []
            self._transport.write(data)

    @property
    def waiting(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._transport.get_write_buffer_size() + sum(map(len, self._held))

    @property
    def taken(self) -> int:
        """Bytes that the kernel has taken since the beginning."""
        return self._written - self.waiting

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class SlowReaderTimeout:
    """Watches that a peer who has something to read takes it, not slower than who sends something may send it.

    Started when bytes wait, stopped when they do not: a stream with nothing to say is never to blame.
    """

    def __init__(self, outgoing: CountingTransport, *, grace_s: float, bytes_per_s: int) -> None:
        self._outgoing = outgoing
        self._grace_s = grace_s
        self._bytes_per_s = bytes_per_s
        self._timer: asyncio.TimerHandle | None = None
        self._started_at = 0.0
        self._taken = self._owed = 0

    def start(self) -> None:
        """Begin to watch, unless that has begun."""
        if self._timer is None:
            self._started_at = monotonic()
            self._taken, self._owed = self._outgoing.taken, self._outgoing.waiting
            self._wait(self._grace_s)

    def stop(self) -> None:
        """Everything was taken, or nobody is there any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._check)

    def _check(self) -> None:
        self._timer = None
        taken = self._outgoing.taken - self._taken
        expected = (monotonic() - self._started_at - self._grace_s) * self._bytes_per_s
        if not self._outgoing.waiting:
            return
        if taken >= self._owed:
            self.start()  # what waits now has come since
        elif taken == 0 or taken < expected:
            self._outgoing.abort()
        else:
            self._wait(self._grace_s / 4)


class LingeringClose:
    """Closes a connection in the end: when its peer has had a moment to read what we said.

    Closing at once would reset the connection while bytes are on their way, and the answer would be lost. So our side
    ends, and what still comes is thrown away, within bounds.
    """

    def __init__(
        self,
        outgoing: CountingTransport,
        slow_reader: SlowReaderTimeout,
        *,
        most_bytes: int,
        is_sending: bool,
    ) -> None:
        self._outgoing = outgoing
        self._slow_reader = slow_reader
        self._left = most_bytes
        self._linger_s = SENDING_S if is_sending else LINGER_S
        self._until = monotonic() + MAX_LINGER_S
        self._last_at = monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._check()

    def stop(self) -> None:
        """Nobody is there any more."""
        if self._timer is not None:
            self._timer.cancel()

    def came(self, n_bytes: int) -> None:
        """Note bytes that were thrown away; beyond the bound no more are read."""
        self._last_at = monotonic()
        self._left -= n_bytes
        if self._left <= 0:
            self._outgoing.pause_reading()
            self._linger_s = LINGER_S

    def _check(self) -> None:
        now = monotonic()
        if self._outgoing.waiting:
            self._slow_reader.start()
            self._until, self._last_at = now + MAX_LINGER_S, now
        elif now - self._last_at >= self._linger_s or now >= self._until:
            self._outgoing.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(LINGER_S / 2, self._check)
