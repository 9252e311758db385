"""What a worker and a learn process that waits say to each other: lines over a socket, the process's standard input.

    ready         the process has loaded what it could foresee, and waits
    TASK TOKEN    the worker hands over an attempt
    taken         the attempt has begun
    ended CODE    it has ended as if with that exit code, and the process waits again

A process that does not wait again ends with its exit code, as one does that was started for a single attempt.
"""

import select
import socket
import time
from contextlib import suppress

READY, TAKEN, ENDED = "ready", "taken", "ended"
MOST_BYTES = 4096
"""Read at once; a line has a few dozen."""


class Line:
    """One end of the socket."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._read = b""

    def say(self, *words: object) -> None:
        """Send a line.

        Raises:
            OSError: If the other end is closed.
        """
        self._end.sendall(f"{' '.join(map(str, words))}\n".encode())

    def hear(self, patience_s: float) -> list[str] | None:
        """Return the words of the next line; None if there is none in time.

        Raises:
            EOFError: If the other end is closed.
        """
        deadline = time.monotonic() + patience_s
        while b"\n" not in self._read:
            left_s = max(0.0, deadline - time.monotonic())
            if not select.select([self._end], [], [], left_s)[0]:
                return None
            self._read += self._receive()
        return self._next()

    def hear_for_ever(self) -> list[str]:
        """Return the words of the next line, however long it takes to come.

        Raises:
            EOFError: If the other end is closed.
        """
        while b"\n" not in self._read:
            self._read += self._receive()
        return self._next()

    def is_spoken_to(self) -> bool:
        """Whether there is something to hear."""
        return b"\n" in self._read or bool(select.select([self._end], [], [], 0)[0])

    def close(self) -> None:
        """Close this end."""
        self._end.close()

    def _next(self) -> list[str]:
        line, _, self._read = self._read.partition(b"\n")
        return line.decode().split()

    def _receive(self) -> bytes:
        data = b""
        with suppress(ConnectionResetError):  # closed before it read all that was sent
            data = self._end.recv(MOST_BYTES)
        if not data:
            raise EOFError
        return data
