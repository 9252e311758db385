"""Stored images of what a learner's live version knows, to show them."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from registry import learners
from registry.tables import SampleRow, TaskRow, VersionRow


@dataclass(frozen=True)
class Picture:
    """A stored image."""

    id: str
    """Of its sample."""
    label: str
    width: int
    height: int


def of_labels(
    session: Session, learner_id: str, labels: Collection[str], *, each: int
) -> list[Picture]:
    """Return up to `each` images of some labels, by label; of a label those to learn from first."""
    rank = (
        func.row_number()
        .over(
            partition_by=SampleRow.label,
            order_by=(SampleRow.split.desc(), TaskRow.index, SampleRow.position),
        )
        .label("rank")
    )
    ranked = (
        select(SampleRow.id, rank)
        .join(TaskRow, TaskRow.id == SampleRow.task_id)
        .where(
            TaskRow.learner_id == learner_id,
            TaskRow.index.in_(_known_tasks(session, learner_id)),
            SampleRow.label.in_(labels),
            SampleRow.quarantine.is_(None),
        )
        .subquery()
    )
    query = (
        select(SampleRow.id, SampleRow.label, SampleRow.width, SampleRow.height)
        .join(ranked, ranked.c.id == SampleRow.id)
        .where(ranked.c.rank <= each)
        .order_by(SampleRow.label, ranked.c.rank)
    )
    return [Picture(*row) for row in session.execute(query)]


def held_out(session: Session, learner_id: str, *, limit: int) -> list[Picture]:
    """Return up to `limit` held-out images, evenly over the classes."""
    rank = (
        func.row_number()
        .over(partition_by=SampleRow.label, order_by=(TaskRow.index, SampleRow.position))
        .label("rank")
    )
    query = (
        select(SampleRow.id, SampleRow.label, SampleRow.width, SampleRow.height, rank)
        .join(TaskRow, TaskRow.id == SampleRow.task_id)
        .where(
            TaskRow.learner_id == learner_id,
            TaskRow.index.in_(_known_tasks(session, learner_id)),
            SampleRow.split == "eval",
            SampleRow.quarantine.is_(None),
        )
        .order_by(rank, TaskRow.index, SampleRow.label)
        .limit(limit)
    )
    rows = session.execute(query).all()
    n_classes = len({row.label for row in rows})
    each = max(1, len(rows) // n_classes) if rows else 0
    return [Picture(*row[:4]) for row in rows if row.rank <= each]


def _known_tasks(session: Session, learner_id: str) -> Select[int]:
    """Select the indexes of the tasks that the live version knows."""
    live = learners.live_version(session, learner_id)
    return select(func.unnest(VersionRow.tasks)).where(
        VersionRow.learner_id == learner_id, VersionRow.number == live
    )
