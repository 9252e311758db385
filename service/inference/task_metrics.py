"""Counting tasks as they end: how many, how long they waited, and where their time went."""

from datetime import datetime

from registry.ended_tasks import OVERLAP, EndedTask, clock, ended_since
from registry.postgres.database import Session
from service.metrics import Metrics


class TaskMetrics:
    """Turns the ends of tasks into metrics. Counts what ends from its first look on, each end once."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._looked_at: datetime | None = None
        self._counted: dict[tuple[str, int], datetime] = {}

    def look(self, session: Session) -> None:
        """Count what has ended since the last look."""
        now = clock(session)
        if self._looked_at is None:
            self._counted = {_name(ended): now for ended in ended_since(session, now)}
        else:
            for ended in ended_since(session, self._looked_at):
                if _name(ended) not in self._counted:
                    self._count(ended)
                self._counted[_name(ended)] = now
        self._looked_at = now
        self._counted = {
            name: seen_at for name, seen_at in self._counted.items() if now - seen_at <= OVERLAP
        }

    def _count(self, ended: EndedTask) -> None:
        self._metrics.tasks_ended.labels(ended.status).inc()
        if ended.waited_s is not None:
            self._metrics.task_wait_seconds.observe(ended.waited_s)
        for phase, seconds in ended.phase_seconds.items():
            self._metrics.phase_seconds.labels(phase).observe(seconds)


def _name(ended: EndedTask) -> tuple[str, int]:
    return ended.task_id, ended.token
