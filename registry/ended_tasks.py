"""Tasks that have ended lately, for whoever counts them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from registry.statuses import TaskStatus
from registry.tables import CONSOLIDATE, TaskRow, VersionRow

OVERLAP = timedelta(minutes=1)
"""A row bears the time its transaction began, and is seen when that ends: so every look goes back this far."""


@dataclass(frozen=True)
class EndedTask:
    """One attempt at a task that came to an end."""

    task_id: str
    token: int
    """Of the attempt: a task that was retried ends again."""
    status: TaskStatus
    waited_s: float | None
    """From its creation to the last start; None if it was never started, and for a consolidation, which waits by
    design."""
    phase_seconds: Mapping[str, float]
    """Seconds in each phase; empty unless it was published."""


def clock(session: Session) -> datetime:
    """Return the database's time."""
    now: datetime = session.execute(select(func.now())).scalar_one()
    return now


def ended_since(session: Session, since: datetime, *, limit: int = 1000) -> list[EndedTask]:
    """Return the tasks that have ended since some time or up to `OVERLAP` before it, oldest first.

    Whoever asks again meets some of them again: tell them apart by task and token.
    """
    query = (
        select(TaskRow, VersionRow.metrics["seconds"])
        .outerjoin(
            VersionRow,
            and_(VersionRow.learner_id == TaskRow.learner_id, VersionRow.number == TaskRow.version),
        )
        .where(TaskRow.finished_at >= since - OVERLAP)
        .order_by(TaskRow.finished_at)
        .limit(limit)
    )
    return [_ended(task, seconds) for task, seconds in session.execute(query)]


def _ended(task: TaskRow, seconds: Mapping[str, float] | None) -> EndedTask:
    waited = None
    if task.started_at is not None and task.mode != CONSOLIDATE:
        waited = task.started_at - task.created_at
    return EndedTask(
        task.id,
        task.token,
        task.status,
        None if waited is None else waited.total_seconds(),
        seconds or {},
    )
