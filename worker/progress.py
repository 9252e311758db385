"""Progress of an attempt: from what the learning core reports to what clients see."""

import threading
import time
from collections.abc import Callable

import structlog

from models.errors import StoppedError
from models.progress import Progress
from registry import queue
from registry.errors import DatabaseUnavailableError
from registry.postgres.database import Sessions

log = structlog.get_logger()

SHARES = {
    "preparing": 0.10,
    "training": 0.60,
    "consolidating": 0.10,
    "evaluating": 0.15,
    "publishing": 0.05,
}
"""Share of the whole that each phase is counted as, in order. Chosen from the feel of it, untested."""
MIN_FRACTION_FOR_ETA = 0.05


class ProgressReporter:
    """Writes the progress of one attempt to its task's row, not too often, and times the phases."""

    def __init__(
        self,
        session_factory: Sessions,
        task_id: str,
        token: int,
        *,
        interval_s: float,
        stop: threading.Event | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the clock.

        Args:
            session_factory: Sessions on the registry.
            task_id: Task of the attempt.
            token: Token of the attempt.
            interval_s: Least seconds between two reports of one phase.
            stop: Once set, the attempt stops at the next report, but not in the midst of training, which has a
                checkpoint to write first.
            clock: In seconds.
        """
        self.seconds: dict[str, float] = {}
        """Seconds spent in each phase that has ended."""
        self._session_factory = session_factory
        self._task_id = task_id
        self._token = token
        self._interval_s = interval_s
        self._stop = stop or threading.Event()
        self._clock = clock
        self._started = self._phase_started = clock()
        self._phase = ""
        self._fraction = 0.0
        self._head_start: tuple[float, float] | None = None
        """When training began, and how much was done by then: a lot, where it goes on from a checkpoint."""
        self._last_report = -interval_s

    def enter(self, phase: str) -> None:
        """Begin a phase; a no-op if it is the current one.

        Raises:
            FencedError: If the attempt is no longer current: stop.
            StoppedError: If the worker stops.
        """
        if phase != "training" and self._stop.is_set():
            raise StoppedError("The worker stops: learning goes on in another attempt.")
        if phase != self._phase:
            now = self._clock()
            if self._phase:
                spent = self.seconds.get(self._phase, 0.0)
                self.seconds[self._phase] = round(spent + now - self._phase_started, 3)
            self._phase, self._phase_started = phase, now
            self._write(Progress(phase, 0.0))

    def report(self, progress: Progress) -> None:
        """Take a report; written at once for a new phase, and otherwise once in an interval.

        Raises:
            FencedError: If the attempt is no longer current: stop.
            StoppedError: If the worker stops.
        """
        if progress.phase == "training" and self._head_start is None:
            is_resumed = progress.fraction >= MIN_FRACTION_FOR_ETA
            done = self._overall(progress) if is_resumed else 0.0
            self._head_start = (self._clock() if is_resumed else self._started, done)
        self.enter(progress.phase)
        if self._clock() - self._last_report >= self._interval_s:
            self._write(progress)

    def _write(self, progress: Progress) -> None:
        now = self._last_report = self._clock()
        # Never backwards, should a strategy come back to an earlier phase.
        self._fraction = max(self._fraction, self._overall(progress))
        eta_s = None
        began, head_start = self._head_start or (self._started, 0.0)
        done = self._fraction - head_start
        if done >= MIN_FRACTION_FOR_ETA:
            eta_s = round((now - began) * (1 - self._fraction) / done, 1)
        row = {
            "phase": progress.phase,
            "fraction": round(self._fraction, 4),
            "epoch": progress.epoch,
            "epochs": progress.epochs,
            "eta_seconds": eta_s,
        }
        try:
            with self._session_factory.begin() as session:
                queue.update_progress(session, self._task_id, self._token, row)
        except DatabaseUnavailableError:
            # Learning goes on without an audience.
            log.warning("progress_not_written", task_id=self._task_id)

    def _overall(self, progress: Progress) -> float:
        """Return the share of the whole that is done."""
        phases = list(SHARES)
        before = sum(SHARES[phase] for phase in phases[: phases.index(progress.phase)])
        return before + SHARES[progress.phase] * progress.fraction
