"""Checkpoints of tasks that are being learned: the task's row names one blob, from which another attempt goes on."""

from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.queue import lock_attempt
from registry.statuses import ENDED
from registry.tables import TaskRow

BATCH = 100


def put_checkpoint(session: Session, task_id: str, token: int, sha256: str) -> str | None:
    """Name the blob that another attempt goes on from, and return the one named before.

    After the commit, delete the blob of that one.

    Raises:
        FencedError: If the attempt is no longer current.
    """
    task = lock_attempt(session, task_id, token)
    before, task.checkpoint = task.checkpoint, sha256
    session.flush()
    return before


def clear_ended(session: Session, delete_blob: Callable[[str], object]) -> int:
    """Clear the checkpoints of tasks that have ended and delete their blobs; return how many there were.

    Safe to repeat: a blob goes before its name does, and deleting one that has gone is no error.
    """
    query = (
        select(TaskRow)
        .where(TaskRow.checkpoint.is_not(None), TaskRow.status.in_(ENDED))
        .order_by(TaskRow.id)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    ended = list(session.scalars(query))
    for task in ended:
        if task.checkpoint is not None:
            delete_blob(task.checkpoint)
            task.checkpoint = None
    session.flush()
    return len(ended)
