"""Which blob keeps the features of a task's held-out images, so that measuring it again needs no pass of them.

They are of one learner and of held-out images alone. They go with the images: when these are deleted, or what they show
is unlearned.
"""

from collections.abc import Collection, Mapping

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from registry.tables import SampleRow, TaskRow


def kept(session: Session, learner_id: str, task_indexes: Collection[int]) -> dict[int, str]:
    """Return the blob of each of some tasks that has one, by the task's index."""
    query = select(TaskRow.index, TaskRow.held_out_features).where(
        TaskRow.learner_id == learner_id,
        TaskRow.index.in_(task_indexes),
        TaskRow.held_out_features.is_not(None),
    )
    return {index: sha256 for index, sha256 in session.execute(query) if sha256 is not None}


def keep(session: Session, learner_id: str, names: Mapping[int, str]) -> None:
    """Name blobs by their tasks' indexes, in the transaction that publishes what was measured.

    A task that has no held-out image any more is left without: it may have lost them meanwhile.
    """
    mine = [TaskRow.learner_id == learner_id, TaskRow.index.in_(names)]
    # Whoever deletes images holds the task's row: only what is seen from here on is sure to stay.
    session.scalars(select(TaskRow.id).where(*mine).order_by(TaskRow.index).with_for_update()).all()
    has_some = select(SampleRow.task_id).where(SampleRow.split == "eval").distinct()
    left = session.execute(
        select(TaskRow.id, TaskRow.index).where(*mine, TaskRow.id.in_(has_some))
    ).all()
    for task_id, index in left:
        session.execute(
            update(TaskRow)
            .where(TaskRow.id == task_id)
            .values(held_out_features=names[index])
            .execution_options(synchronize_session="fetch")
        )


def of_task(session: Session, task_id: str) -> list[str]:
    """Return the blob of a task, if it has one."""
    query = select(TaskRow.held_out_features).where(TaskRow.id == task_id)
    return [sha256 for sha256 in session.scalars(query) if sha256 is not None]
