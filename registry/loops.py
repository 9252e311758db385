"""Threads that must not end: what their work raises is logged and counted, and after a pause it begins again."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

import structlog

log = structlog.get_logger()

FIRST_PAUSE_S, MOST_PAUSE_S = 1.0, 30.0
"""Before work begins again: the first after work that went well for a while, and twice as long each time after."""
STEADY_S = 10.0
"""Work that went on for so long before it failed had gone well."""

State = Literal["up", "failing", "down"]


class SteadyThread:
    """A thread whose work goes on until it returns by itself, whatever it raises meanwhile.

    The work is called in one thread all the time: on Linux a child process dies with the thread that made it.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], object],
        *,
        most_pause_s: float = MOST_PAUSE_S,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        """Start nothing yet.

        Args:
            name: What logs, metrics and `/readyz` call it.
            work: Returns when it is over. What it raises is taken for an accident, after which it is called again.
            most_pause_s: Longest pause before that, in seconds.
            first_pause_s: The shortest.
        """
        self.name = name
        self.failures = 0
        """How often the work was broken off by an error."""
        self._work = work
        self._pauses_s = (min(first_pause_s, most_pause_s), most_pause_s)
        self._ending = threading.Event()
        self._is_pausing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def ident(self) -> int | None:
        """Of the thread; None until it is started."""
        return self._thread.ident

    @property
    def state(self) -> State:
        """`up`: it works. `failing`: an error broke it off, and it will begin again. `down`: it does not run."""
        if not self._thread.is_alive():
            return "down"
        return "failing" if self._is_pausing else "up"

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def is_alive(self) -> bool:
        """Return whether it runs."""
        return self._thread.is_alive()

    def end(self) -> None:
        """Let work that fails from now on be the last, and end a pause. Work that goes on is told by its owner."""
        self._ending.set()

    def join(self, timeout: float | None = None) -> None:
        """`end`, and wait until it has ended, for `timeout` seconds at most."""
        self.end()
        if self.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        pause_s, most_s = self._pauses_s
        while True:
            began = time.monotonic()
            try:
                self._work()
            except BaseException as error:  # no error, of whatever kind, is meant to end a thread
                self.failures += 1
                # A log that fails must not end what reports to it.
                with suppress(Exception):
                    log.exception("thread_failed", thread=self.name, error=type(error).__name__)
            else:
                return
            if time.monotonic() - began > STEADY_S:
                pause_s = self._pauses_s[0]
            self._is_pausing = True
            if self._ending.wait(pause_s):
                return
            self._is_pausing = False
            pause_s = min(2 * pause_s, most_s)
