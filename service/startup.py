"""What a person at the terminal sees of a start: a greeting, what is waited for and for how long, then the way in.

Only the standard library is imported: it speaks before PyTorch is loaded, which takes seconds.
"""

import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

GREETING = "Filopodia is starting. Ctrl-C stops it."
TICK_S = 0.25
"""Time between two drawings of the line of a step that is waited for."""
CLEAR_LINE = "\r\x1b[K"


class Startup:
    """Speaks to a person on a terminal, and to nobody where there is none.

    Writing never raises: a terminal that went away is no reason not to serve.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """Speak to `stream`, a terminal; None if nobody watches."""
        self._stream = stream
        self._moves = os.environ.get("TERM", "dumb") != "dumb"
        self._lock = threading.Lock()
        self.waited_s: dict[str, float] = {}
        """How long each step took that is over, for the log."""

    @property
    def is_watched(self) -> bool:
        """Whether a person reads this, and nothing keeps it."""
        return self._stream is not None

    def say(self, text: str = "") -> None:
        """Print a line.

        Example:
            >>> Startup(sys.stdout).say("ready")
            ready
        """
        self._write(f"{text}\n")

    @contextmanager
    def step(self, doing: str) -> Iterator[None]:
        """Show what is waited for while the block runs, and then how long that took."""
        started = time.monotonic()
        if self._stream is None:
            yield
            self._note(doing, started)
            return
        ended = threading.Event()
        ticking = threading.Thread(target=self._tick, args=(doing, started, ended), daemon=True)
        ticking.start()
        try:
            yield
        except BaseException:
            self._end(ended, ticking)
            self._write(CLEAR_LINE if self._moves else "")
            raise
        self._end(ended, ticking)
        self._note(doing, started)
        self._write(f"{self._line(doing, started)}\n")

    def _note(self, doing: str, started: float) -> None:
        self.waited_s[doing] = round(time.monotonic() - started, 3)

    def _tick(self, doing: str, started: float, ended: threading.Event) -> None:
        while self._moves and not ended.is_set():
            self._write(self._line(doing, started))
            ended.wait(TICK_S)

    def _end(self, ended: threading.Event, ticking: threading.Thread) -> None:
        ended.set()
        ticking.join()

    def _line(self, doing: str, started: float) -> str:
        before = CLEAR_LINE if self._moves else ""
        text = f"  {doing:<36} {time.monotonic() - started:5.1f} s"
        # One that wraps could not be cleared.
        return before + text[: max(20, shutil.get_terminal_size().columns - 1)]

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        with self._lock, suppress(OSError, ValueError):
            encoding = self._stream.encoding or "ascii"
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self._stream.flush()


def on_terminal() -> Startup:
    """Return what speaks to whoever watches the standard output; silent where that is a file, a pipe or closed."""
    return Startup(sys.stdout if is_terminal(sys.stdout) else None)


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a person reads a stream. A closed one is none."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False
