"""Learn processes as their supervisor sees them. Nothing here imports torch.

Signals go to a learn process's whole group, so loader processes end with it.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

import structlog

from worker.handover import ENDED, READY, TAKEN, Line
from worker.settings import WorkerSettings
from worker.title import ROOM, WAIT

log = structlog.get_logger()

TAKE_S = 30.0
"""How long a process that was ready may leave an attempt lying before another one is started for it."""


class LearnProcess:
    """A learn process: for one attempt, or one that waits and runs those that are handed to it."""

    def __init__(self, settings: WorkerSettings, *attempt: str) -> None:
        """Start it, with task and token of its one attempt; without them it waits.

        Raises:
            OSError: If no process can be started.
        """
        self.is_ready = False
        """Whether it has said so."""
        self._line: Line | None = None
        if attempt:
            self._process = _start(settings, *attempt, stdin=subprocess.DEVNULL)
            return
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = _start(settings, WAIT, ROOM, stdin=theirs.fileno())
            except OSError:
                ours.close()
                raise
        self._line = Line(ours)

    @property
    def pid(self) -> int:
        """Its process id, which is also that of its group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """With what it has ended; negative for a signal, None while it runs."""
        return self._process.poll()

    @property
    def has_ended(self) -> bool:
        """Whether it has."""
        return self.exit_code is not None

    def say(self, *words: str) -> None:
        """Hand something over to it, if it waits.

        Raises:
            OSError: If it is gone.
        """
        if self._line is not None:
            self._line.say(*words)

    def hear(self, patience_s: float) -> list[str] | None:
        """Return what it says next; None if that is nothing in time, or if it has ended."""
        deadline = time.monotonic() + patience_s
        if self._line is not None:
            try:
                words = self._line.hear(patience_s)
            except EOFError:
                pass
            else:
                self.is_ready |= words == [READY]
                return words
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, deadline - time.monotonic()))
        return None

    def end(self, grace_s: float = 0.0) -> None:
        """End it and all that it has started: at once, or after a grace to write a checkpoint in."""
        if grace_s > 0:
            self._signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
        if not self.has_ended:
            self._signal(signal.SIGKILL)
            self._process.wait()
        if self._line is not None:
            self._line.close()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it has ended just now
            os.killpg(self.pid, number)


def _start(settings: WorkerSettings, *arguments: str, stdin: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "worker.learn", *arguments],
        stdin=stdin,
        env=settings.environment(),
        start_new_session=True,
    )


class RunningAttempt:
    """An attempt at a task in a learn process, until it has ended."""

    def __init__(
        self,
        settings: WorkerSettings,
        task_id: str,
        token: int,
        *,
        waits: bool,
        waiting: LearnProcess | None = None,
        options: Sequence[str] = (),
    ) -> None:
        """Hand it over to the process that waits already, or start one that `waits` for others afterwards, or does not.

        Only the last one has `options`.

        Raises:
            OSError: If none can be started.
        """
        self._settings = settings
        self._words = (task_id, str(token))
        self._exit_code: int | None = None
        self._is_taken = not waits
        self._has_waited = waiting is not None
        if not waits:
            self._process = LearnProcess(settings, *self._words, *options)
            return
        self._process = waiting or LearnProcess(settings)
        self._hand_over()

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    @property
    def exit_code(self) -> int:
        """What it has ended with, which it must have; negative for a signal."""
        assert self._exit_code is not None, "the attempt still runs"
        return self._exit_code

    @property
    def idle_process(self) -> LearnProcess | None:
        """The process, if it waits again."""
        return None if self._exit_code is None or self._process.has_ended else self._process

    def has_ended(self, patience_s: float) -> bool:
        """Whether it has, now or within `patience_s` seconds."""
        deadline = time.monotonic() + patience_s
        while self._exit_code is None:
            words = self._process.hear(max(0.0, deadline - time.monotonic()))
            if words == [TAKEN]:
                self._is_taken = True
            elif words is not None and words[0] == ENDED:
                self._exit_code = int(words[1])
            elif words is None and self._is_left_lying():
                self._begin_again()
            elif words is None:
                self._exit_code = self._process.exit_code
                break
        return self._exit_code is not None

    def stop(self, grace_s: float) -> None:
        """End it with its process, at once or after a grace to write a checkpoint in."""
        self._process.end(grace_s)
        self._exit_code = self._process.exit_code

    def _hand_over(self) -> None:
        self._handed_over = time.monotonic()
        with suppress(OSError):  # it has ended: that is seen later
            self._process.say(*self._words)

    def _is_left_lying(self) -> bool:
        """Whether a process that waited has ended, or stands still, before it began: that is not the attempt's."""
        if self._is_taken or not self._has_waited:
            return False
        is_late = self._process.is_ready and time.monotonic() - self._handed_over > TAKE_S
        return is_late or self._process.has_ended

    def _begin_again(self) -> None:
        log.warning("waiting_process_lost", pid=self.pid, exit_code=self._process.exit_code)
        self._has_waited = False
        self._process.end()
        try:
            self._process = LearnProcess(self._settings)
        except OSError as error:
            log.error("attempt_not_started", reason=str(error))
            self._exit_code = os.EX_OSERR
        else:
            self._hand_over()
