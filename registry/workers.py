"""Who learns: workers say that they are there, and everyone can ask who is alive, on what device, doing what."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from sqlalchemy import case, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.statuses import WITH_WORKER
from registry.tables import LearnerRow, TaskRow, WorkerRow

LOST_AFTER = timedelta(seconds=30)
"""Without a sign of life for that long a worker counts as lost. It says hello every 5 s."""
FORGOTTEN_AFTER = timedelta(days=1)
"""A worker that stopped or was lost is listed for a day."""

WorkerState = Literal["idle", "learning", "lost", "stopped"]


@dataclass(frozen=True)
class SeenWorker:
    """A worker and what it is doing."""

    row: WorkerRow
    state: WorkerState
    learning: list[tuple[TaskRow, str]]
    """The tasks it holds, each with its learner's name."""


def announce(
    session: Session,
    worker_id: str,
    *,
    kind: str,
    host: str,
    pid: int,
    device: str,
    slots: int,
    version: str,
) -> None:
    """Record that a worker has started, in the place of an earlier one of its name."""
    values = {
        "kind": kind,
        "host": host,
        "pid": pid,
        "device": device,
        "slots": slots,
        "version": version,
        "started_at": func.now(),
        "seen_at": func.now(),
        "stopped_at": None,
    }
    statement = insert(WorkerRow).values(id=worker_id, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))


def see(session: Session, worker_id: str) -> None:
    """Record a sign of life."""
    _update(session, worker_id, seen_at=func.now())


def leave(session: Session, worker_id: str) -> None:
    """Record that a worker has stopped in order."""
    _update(session, worker_id, seen_at=func.now(), stopped_at=func.now())


def list_workers(session: Session) -> list[SeenWorker]:
    """Return all workers seen within a day, by name."""
    is_lost = WorkerRow.seen_at < func.now() - LOST_AFTER
    state = case((WorkerRow.stopped_at.is_not(None), "stopped"), (is_lost, "lost"), else_="idle")
    held = (
        select(TaskRow, LearnerRow.name)
        .join(LearnerRow, LearnerRow.id == TaskRow.learner_id)
        .where(TaskRow.status.in_(WITH_WORKER))
        .order_by(TaskRow.started_at, TaskRow.id)
    )
    learning: dict[str | None, list[tuple[TaskRow, str]]] = {}
    for task, learner in session.execute(held):
        learning.setdefault(task.worker_id, []).append((task, learner))
    rows = session.execute(
        select(WorkerRow, state)
        .where(WorkerRow.seen_at > func.now() - FORGOTTEN_AFTER)
        .order_by(WorkerRow.id)
    )
    return [
        SeenWorker(
            row,
            "learning" if state == "idle" and row.id in learning else state,
            learning.get(row.id, []),
        )
        for row, state in rows
    ]


def unseen_seconds(session: Session) -> dict[str, float]:
    """Return for every worker that has not said goodbye the time since its last sign of life."""
    age = func.extract("epoch", func.now() - WorkerRow.seen_at)
    query = select(WorkerRow.id, age).where(
        WorkerRow.stopped_at.is_(None), WorkerRow.seen_at > func.now() - FORGOTTEN_AFTER
    )
    return {worker_id: float(seconds) for worker_id, seconds in session.execute(query)}


def forget_gone(session: Session) -> None:
    """Remove the rows of workers that have not been seen for a day."""
    session.execute(delete(WorkerRow).where(WorkerRow.seen_at < func.now() - FORGOTTEN_AFTER))


def _update(session: Session, worker_id: str, **values: object) -> None:
    session.execute(update(WorkerRow).where(WorkerRow.id == worker_id).values(**values))
