"""Stored images of what a learner's live version knows, to show them."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Select, func, select, tuple_
from sqlalchemy.orm import Session

from registry import learners
from registry.corrections import REMOVED
from registry.paging import Page, decode_number, page_of
from registry.tables import LearnerRow, SampleRow, TaskRow, VersionRow

_MOST_OF_TASK = 1_000_000
"""More than a task has images: with it a cursor holds both its index and a position in it."""


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


def list_learned(
    session: Session,
    learner: LearnerRow,
    *,
    label: str | None = None,
    split: str | None = None,
    is_removed: bool = False,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[SampleRow]:
    """Return a page of the images that a learner's head has learned or is measured with, task by task.

    Args:
        session: Database session.
        learner: The learner.
        label: Only those that show this class.
        split: Only those to learn from, or only held-out ones.
        is_removed: Those that corrections took out, instead of the others.
        limit: Most of a page.
        cursor: Of the page before.

    Raises:
        InvalidCursorError: If the cursor is not one of ours.
    """
    query = learned(learner, label=label, split=split, is_removed=is_removed)
    if cursor is not None:
        number = decode_number(cursor)
        after = (number // _MOST_OF_TASK, number % _MOST_OF_TASK)
        query = query.where(tuple_(TaskRow.index, SampleRow.position) > after)
    rows = session.execute(
        query.add_columns(TaskRow.index)
        .order_by(TaskRow.index, SampleRow.position)
        .limit(limit + 1)
    ).all()
    page = page_of(
        [(row, index) for row, index in rows],
        limit,
        lambda item: (str(item[1] * _MOST_OF_TASK + item[0].position),),
    )
    return Page([row for row, _ in page.items], page.next_cursor)


@dataclass(frozen=True)
class ClassCounts:
    """How many images of a class there are with the learner's head."""

    train: int
    eval: int
    """Held out."""
    removed: int
    """Taken out by corrections."""


def count_class(session: Session, learner: LearnerRow, label: str) -> ClassCounts:
    """Count the images of a class that a learner's head has learned or is measured with, and those taken out."""
    used, removed = (
        session.execute(
            learned(learner, label=label, is_removed=is_removed)
            .with_only_columns(SampleRow.split, func.count())
            .group_by(SampleRow.split)
        ).all()
        for is_removed in (False, True)
    )
    counts = {row[0]: row[1] for row in used}
    return ClassCounts(
        counts.get("train", 0), counts.get("eval", 0), sum(row[1] for row in removed)
    )


def of_class(
    session: Session,
    learner: LearnerRow,
    label: str,
    *,
    split: str | None = None,
    is_removed: bool = False,
    limit: int,
    offset: int = 0,
) -> list[SampleRow]:
    """Return images of a class as `list_learned` does, from one on; those to learn from come first."""
    query = learned(learner, label=label, split=split, is_removed=is_removed)
    order = (SampleRow.split.desc(), TaskRow.index, SampleRow.position)
    return list(session.scalars(query.order_by(*order).limit(limit).offset(offset)))


def learned(
    learner: LearnerRow,
    *,
    label: str | None = None,
    split: str | None = None,
    is_removed: bool = False,
) -> Select[SampleRow]:
    """Select the images of `list_learned`, without an order."""
    known = select(func.unnest(VersionRow.tasks)).where(
        VersionRow.learner_id == learner.id, VersionRow.number == learner.head_version
    )
    query = (
        select(SampleRow)
        .join(TaskRow, TaskRow.id == SampleRow.task_id)
        .where(
            TaskRow.learner_id == learner.id,
            TaskRow.index.in_(known),
            SampleRow.quarantine == REMOVED if is_removed else SampleRow.quarantine.is_(None),
        )
    )
    if label is not None:
        query = query.where(SampleRow.label == label)
    if split is not None:
        query = query.where(SampleRow.split == split)
    return query


def _known_tasks(session: Session, learner_id: str) -> Select[int]:
    """Select the indexes of the tasks that the live version knows."""
    live = learners.live_version(session, learner_id)
    return select(func.unnest(VersionRow.tasks)).where(
        VersionRow.learner_id == learner_id, VersionRow.number == live
    )
