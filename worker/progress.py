"""Progress of an attempt: from what the learning core reports to what clients see."""

import time
from collections.abc import Callable

import structlog
from sqlalchemy.orm import Session, sessionmaker

from models.progress import Progress
from registry import queue
from registry.errors import DatabaseUnavailableError

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
        session_factory: sessionmaker[Session],
        task_id: str,
        token: int,
        *,
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds: dict[str, float] = {}
        """Seconds spent in each phase that has ended."""
        self._session_factory = session_factory
        self._task_id = task_id
        self._token = token
        self._interval_s = interval_s
        self._clock = clock
        self._started = self._phase_started = clock()
        self._phase = ""
        self._fraction = 0.0
        self._last_report = -interval_s

    def enter(self, phase: str) -> None:
        """Begin a phase; a no-op if it is the current one.

        Raises:
            FencedError: If the attempt is no longer current: stop.
        """
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
        """
        self.enter(progress.phase)
        if self._clock() - self._last_report >= self._interval_s:
            self._write(progress)

    def _write(self, progress: Progress) -> None:
        now = self._last_report = self._clock()
        phases = list(SHARES)
        done = sum(SHARES[phase] for phase in phases[: phases.index(progress.phase)])
        # Never backwards, should a strategy come back to an earlier phase.
        self._fraction = max(self._fraction, done + SHARES[progress.phase] * progress.fraction)
        eta_s = None
        if self._fraction >= MIN_FRACTION_FOR_ETA:
            eta_s = round((now - self._started) * (1 / self._fraction - 1), 1)
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
