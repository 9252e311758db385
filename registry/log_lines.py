"""Log lines on their way to standard error, written by one thread: whoever logs neither waits nor fails.

A disk may be full, a pipe may be read by nobody, a terminal may be held by Ctrl-S. None of this is a reason not to
learn or answer. Lines that cannot be written are counted and dropped; when writing works again, the log says how many.
"""

import os
import queue
import select
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

MOST_BYTES = 1 << 20
"""What may wait to be written, in characters: some thousands of lines."""
MOST_LINE = 64 << 10
"""Characters of one entry; a traceback has a few thousand."""
SETTLE_S = 2.0
"""How long a process that ends waits for its log."""
LOOK_S = 0.005


class LogLines:
    """The standard error of the moment, as a file that takes everything at once and writes it as it can.

    Example:
        >>> LogLines().write("some text")
        9
    """

    def __init__(self, on_recovery: Callable[[int], None] | None = None) -> None:
        """Start nothing yet; `on_recovery` is told the number of lines dropped, once lines can be written again."""
        self.on_recovery = on_recovery
        self._become_new()
        os.register_at_fork(after_in_child=self._become_new)

    def _become_new(self) -> None:
        # Signal handlers log too, so both must bear being entered again by the thread that is in them.
        self._lock = threading.RLock()
        self._waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._held = 0
        self._thread: threading.Thread | None = None
        self._dropped = self._told = 0
        self._is_torn = False

    @property
    def dropped(self) -> int:
        """Lines that could not be written since this process began."""
        return self._dropped

    @property
    def is_settled(self) -> bool:
        """Whether nothing waits to be written."""
        return self._held == 0

    def write(self, text: str) -> int:
        """Take a text, usually a line; never waits, never raises."""
        kept = text if len(text) <= MOST_LINE else text[: MOST_LINE - 4] + "...\n"
        with self._lock:
            if self._held + len(kept) > MOST_BYTES:
                self._dropped += 1
                return len(text)
            self._held += len(kept)
            self._waiting.put(kept)
            if self._thread is None:
                self._start()
        return len(text)

    def flush(self) -> None:
        """Do nothing: nobody waits for the log but a process that ends, in `settle`."""

    def settle(self, timeout_s: float = SETTLE_S) -> bool:
        """Wait until everything is written, or the time is over; return whether it is."""
        deadline = time.monotonic() + timeout_s
        while not self.is_settled and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        return self.is_settled

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no thread can be had now: the next line tries again
            self._thread = None

    def _run(self) -> None:
        lines, lock = self._waiting, self._lock
        while True:
            text = lines.get()
            is_written = self._put(text)
            with lock:
                self._held -= len(text)
                self._dropped += not is_written
            if is_written and self._told < self._dropped and self.on_recovery is not None:
                n, self._told = self._dropped - self._told, self._dropped
                with suppress(Exception):
                    self.on_recovery(n)

    def _put(self, text: str) -> bool:
        """Write a text whole, and return whether that worked. May wait for as long as whoever reads likes."""
        stream = sys.stderr
        try:
            number = stream.fileno()
        except (AttributeError, ValueError, OSError):  # none, closed, or one of Python's own
            return _put_into(stream, text)
        # Past the stream's buffer: whoever else writes there, Python's own end included, would wait for its lock.
        try:
            data = text.encode(stream.encoding or "utf-8", stream.errors or "backslashreplace")
            rest = memoryview(b"\n" + data if self._is_torn else data)
            while rest:
                rest = rest[_written(number, rest) :]
                self._is_torn = bool(rest)
        except (OSError, ValueError, LookupError):
            return False
        return True


def _written(number: int, data: memoryview) -> int:
    try:
        return os.write(number, data)
    except BlockingIOError:  # somebody has made the pipe one that does not wait
        select.select([], [number], [])
        return 0


def _put_into(stream: Any, text: str) -> bool:
    try:
        stream.write(text)
        stream.flush()
    except Exception:  # noqa: BLE001 (whatever somebody has put in its place)
        return False
    return True


LOG_LINES = LogLines()
"""Of this process."""
