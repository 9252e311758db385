"""Where a slot has its learn processes from: one waits, ready, so that a task need not wait for torch to be loaded."""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import structlog

from worker.learn_process import LearnProcess, RunningAttempt
from worker.settings import WorkerSettings

log = structlog.get_logger()

FIRST_PAUSE_S, MOST_PAUSE_S = 1.0, 60.0
"""Before a process that ended while it waited is replaced: the first time, and twice as long each time after."""


class LearnProcesses:
    """Where one slot has its learn processes from. Used by one thread at a time, and each must live as long as they."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        waits: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start nothing yet. Whether one waits the setting says, unless `waits` does."""
        self._settings = settings
        self._clock = clock
        self._waits = settings.learn_standby if waits is None else waits
        self._waiting: LearnProcess | None = None
        self._pause_s, self._not_before = FIRST_PAUSE_S, 0.0
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def keep_ready(self) -> None:
        """Have one that waits, as the setting says: look whether it is still there, and start it if not."""
        if not self._waits or self._is_closed:
            return
        if self._waiting is not None and self._waiting.has_ended:
            log.warning(
                "waiting_process_ended", pid=self._waiting.pid, exit_code=self._waiting.exit_code
            )
            self._drop()
            self._rest()
        if self._waiting is None and self._clock() >= self._not_before:
            try:
                self._waiting = LearnProcess(self._settings)
            except OSError as error:
                log.error("waiting_process_not_started", reason=str(error))
                self._rest()

    def start(
        self, task_id: str, token: int, *, apart: Sequence[str] | None = None
    ) -> RunningAttempt:
        """Begin an attempt, in the process that waits if there is one.

        Args:
            task_id: The task.
            token: Of the attempt.
            apart: Further arguments of a process for this attempt alone, while the one that waits goes on waiting.

        Raises:
            OSError: If no process can be started.
        """
        if apart is not None:
            return RunningAttempt(self._settings, task_id, token, waits=False, options=apart)
        if self._waiting is not None and self._waiting.has_ended:
            self._drop()
        waiting, self._waiting = self._waiting, None
        return RunningAttempt(self._settings, task_id, token, waits=self._waits, waiting=waiting)

    def take_back(self, attempt: RunningAttempt) -> None:
        """Let the process of an attempt that has ended wait for the next one, if it does."""
        self._pause_s, self._not_before = FIRST_PAUSE_S, 0.0
        process = attempt.idle_process
        if process is None:
            attempt.stop(0.0)  # it has ended
            return
        self._waiting = process
        if self._is_closed:
            self._drop()

    def close(self) -> None:
        """End the process that waits; none will wait any more."""
        self._is_closed = True
        self._drop()

    def _drop(self) -> None:
        if self._waiting is not None:
            self._waiting.end()
            self._waiting = None

    def _rest(self) -> None:
        self._not_before = self._clock() + self._pause_s
        self._pause_s = min(2 * self._pause_s, MOST_PAUSE_S)
