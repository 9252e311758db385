"""What happened to a task, in order: the log that clients follow.

Functions that change a task append its events in the same transaction, so the log and the row never disagree. Who has
subscribed to the ends of tasks is told of them here too.
"""

from collections.abc import Collection
from typing import Any, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry import telling
from registry.statuses import TaskStatus
from registry.tables import EventRow, TaskRow

EventType = Literal[
    "queued",
    "started",
    "phase",
    "progress",
    "findings",
    "evaluated",
    "published",
    "failed",
    "cancelled",
    "declined",
    "end",
]
"""`end` is the last event of a task until it is retried, published by hand, or superseded by a rollback that moves the
head; its data has the status."""
QUEUED: EventType = "queued"
"""Of a task that waits from now on, for the first time or again."""


def append_event(
    session: Session, task_id: str, type_: EventType, data: dict[str, Any], *, is_told: bool = True
) -> None:
    """Add an event to a task's log.

    Args:
        session: Database session.
        task_id: The task.
        type_: What has happened.
        data: As JSON.
        is_told: Whether subscribers are told of an `end`; not of one that is no news.
    """
    session.add(EventRow(task_id=task_id, type=type_, data=data))
    session.flush()
    if type_ == "end" and is_told:
        task = session.get(TaskRow, task_id)
        if task is not None:
            telling.task_ended(session, task, TaskStatus(data["status"]))


def list_events(
    session: Session, task_id: str, *, after_seq: int = 0, limit: int = 100
) -> list[EventRow]:
    """Return up to `limit` events of a task with a sequence number above `after_seq`, oldest first.

    An event can be missed only if it was written by a transaction that commits later than one with a higher number;
    writers of one task hold its row's lock while they append, so within a task this does not happen.
    """
    query = (
        select(EventRow)
        .where(EventRow.task_id == task_id, EventRow.seq > after_seq)
        .order_by(EventRow.seq)
        .limit(limit)
    )
    return list(session.scalars(query))


def latest(session: Session, task_ids: Collection[str]) -> dict[str, tuple[int, TaskStatus]]:
    """Return, for those of some tasks that there are, the number of the last event (0: none yet) and the status."""
    last = select(func.max(EventRow.seq)).where(EventRow.task_id == TaskRow.id).scalar_subquery()
    query = select(TaskRow.id, func.coalesce(last, 0), TaskRow.status)
    rows = session.execute(query.where(TaskRow.id.in_(task_ids)))
    return {task_id: (seq, status) for task_id, seq, status in rows}
