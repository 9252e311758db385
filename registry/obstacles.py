"""What a consolidation that is queued waits for."""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry import turns
from registry.statuses import UNFINISHED, TaskStatus
from registry.tables import TaskRow

What = Literal["decision", "task", "hours", "quiet", "retry", "worker"]
"""`decision`: a held task of its learner, about which a person decides. `task`: one of its learner, which goes first.
`quiet`: that no task comes for a while. `retry`: a pause after an attempt that failed. `worker`: a free one."""


@dataclass(frozen=True)
class Obstacle:
    """Why a queued consolidation has not begun."""

    what: What
    seconds: float | None = None
    """Until it may begin, with `quiet` and `retry`."""


def find_obstacle(session: Session, task: TaskRow) -> Obstacle | None:
    """Return what a consolidation waits for; None if it is not queued."""
    left = func.extract("epoch", TaskRow.not_before - func.now())
    query = select(left, turns.in_hours(), turns.is_blocked()).where(
        TaskRow.id == task.id, TaskRow.status == TaskStatus.QUEUED
    )
    row = session.execute(query).one_or_none()
    if row is None:
        return None
    left_s, may_run, is_blocked = row
    if is_blocked:
        return Obstacle("task" if _has_unfinished(session, task) else "decision")
    if not may_run:
        return Obstacle("hours")
    if left_s is not None and left_s > 0:
        return Obstacle("retry" if task.error else "quiet", float(left_s))
    return Obstacle("worker")


def _has_unfinished(session: Session, task: TaskRow) -> bool:
    of_learner = (TaskRow.learner_id == task.learner_id) & (TaskRow.id != task.id)
    query = select(TaskRow.id).where(of_learner, TaskRow.status.in_(UNFINISHED)).limit(1)
    return session.scalars(query).first() is not None
