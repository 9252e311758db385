"""What of an installation may need a person: what is forgotten, failed, held or waits, and when a backup was made."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, and_, func, or_, select, tuple_
from sqlalchemy.orm import Session

from registry import ancestry, audit, class_accuracy, learners
from registry.accuracy import Cell
from registry.events import QUEUED
from registry.learners import LIVE
from registry.measures import Measure, difference
from registry.statuses import TaskStatus
from registry.tables import (
    CONSOLIDATE,
    AccuracyRow,
    AliasRow,
    AuditRow,
    EventRow,
    LearnerRow,
    TaskRow,
    WorkerRow,
)
from registry.workers import LOST_AFTER

BACKUP = "backup.make"
"""The action under which the audit log has a backup."""
RECENT = timedelta(days=7)
"""Failures are told for that long, unless they are tried again."""
FALSE_ALARMS = 0.05
"""Learners that are told of forgetting although nothing is forgotten; fewer, since the intervals are rather wide."""
WIDTH_95 = 1.96
"""Standard errors to either side that make an interval of 95 %."""
USUAL_OF = 50
"""Newest tasks that what is usual is read from."""


@dataclass(frozen=True)
class Forgotten:
    """A task or a class that is answered worse than when it was learned, by more than chance explains."""

    name: str
    """Of the class; of a task its index."""
    is_class: bool
    learned: Measure
    now: Measure
    change: Measure


@dataclass(frozen=True)
class Trouble:
    """How many tasks of a learner failed, or wait for a decision; with the newest."""

    learner: str
    n: int
    at: datetime
    """When the newest was created."""


@dataclass(frozen=True)
class Queue:
    """How long what is queued waits, beside what is usual."""

    n: int
    longest_s: float
    """Time since the oldest task that waits was queued."""
    usual_s: float | None
    """Nine of ten of the newest tasks that were learned waited no longer; None before there are enough to say."""


def forgotten(session: Session, learner: LearnerRow, live: int) -> list[Forgotten]:
    """Return the tasks and classes that a version answers worse than the one that learned them, worst first.

    Only differences that chance does not explain among so many. Versions never change, so neither does what is found.
    """
    found = [*_tasks(session, learner.id, live), *_classes(session, learner)]
    return sorted(found, key=lambda each: each.change.high)


def served(session: Session) -> list[tuple[LearnerRow, int]]:
    """Return the learners that answer, each with the version that does, by name."""
    query = (
        select(LearnerRow, AliasRow.version)
        .join(AliasRow, and_(AliasRow.learner_id == LearnerRow.id, AliasRow.name == LIVE))
        .order_by(LearnerRow.name)
    )
    return [(learner, version) for learner, version in session.execute(query)]


def failed(session: Session) -> list[Trouble]:
    """Return where tasks failed within a week that nobody tried again, by learner."""
    is_recent = TaskRow.finished_at > func.now() - RECENT
    return _troubles(session, and_(TaskRow.status == TaskStatus.FAILED, is_recent))


def held(session: Session) -> list[Trouble]:
    """Return where tasks wait for a person's decision, by learner."""
    return _troubles(session, TaskRow.status == TaskStatus.HELD)


def queue(session: Session) -> Queue:
    """Return how long tasks wait for a worker. Consolidations wait for quiet, and do not count."""
    queued = select(func.max(EventRow.created_at)).where(
        EventRow.task_id == TaskRow.id, EventRow.type == QUEUED
    )
    since = func.coalesce(queued.correlate(TaskRow).scalar_subquery(), TaskRow.created_at)
    waits = func.extract("epoch", func.now() - since)
    is_due = or_(TaskRow.not_before.is_(None), TaskRow.not_before <= func.now())
    waiting = select(func.count(), func.max(waits)).where(
        TaskRow.status == TaskStatus.QUEUED, TaskRow.mode != CONSOLIDATE, is_due
    )
    n, longest_s = session.execute(waiting).one()
    took = func.extract("epoch", TaskRow.started_at - TaskRow.created_at).label("took")
    newest: Select[Any] = (
        select(took)
        .where(
            TaskRow.status == TaskStatus.SUCCEEDED,
            TaskRow.mode != CONSOLIDATE,
            TaskRow.attempt == 1,
            TaskRow.started_at.is_not(None),
        )
        .order_by(TaskRow.id.desc())
        .limit(USUAL_OF)
    )
    sample = newest.subquery()
    usual = select(func.count(), func.percentile_cont(0.9).within_group(sample.c.took))
    n_usual, usual_s = session.execute(usual.select_from(sample)).one()
    is_enough = n_usual >= USUAL_OF // 5
    return Queue(n, float(longest_s or 0.0), float(usual_s) if is_enough else None)


def lost_workers(session: Session) -> list[str]:
    """Return the workers that were seen within a day, are silent now, and did not say goodbye."""
    query = select(WorkerRow.id).where(
        WorkerRow.stopped_at.is_(None), WorkerRow.seen_at < func.now() - LOST_AFTER
    )
    return list(session.scalars(query.order_by(WorkerRow.id)))


def other_releases(session: Session, release: str) -> list[str]:
    """Return the workers that are there with the code of another release."""
    query = select(WorkerRow.id).where(
        WorkerRow.stopped_at.is_(None),
        WorkerRow.seen_at >= func.now() - LOST_AFTER,
        WorkerRow.version != release,
    )
    return list(session.scalars(query.order_by(WorkerRow.id)))


def note_backup(session: Session, name: str, *, n_blobs: int, size_bytes: int) -> None:
    """Note that a backup was made. The backup itself does not hold the note: it is as of a moment before."""
    details = {"blobs": n_blobs, "bytes": size_bytes}
    audit.record(session, None, BACKUP, subject=name, details=details)


def last_backup_s(session: Session) -> float | None:
    """Return the age of the newest backup that was made of this database; None if there is none."""
    made = func.max(AuditRow.created_at)
    return _age_s(session, select(made).where(AuditRow.action == BACKUP))


def age_s(session: Session) -> float | None:
    """Return the age of the oldest learner; None if there is none."""
    return _age_s(session, select(func.min(LearnerRow.created_at)))


def _age_s(session: Session, moment: Select[Any]) -> float | None:
    age = func.extract("epoch", func.now() - moment.scalar_subquery())
    seconds = session.scalar(select(age))
    return None if seconds is None else float(seconds)


def _tasks(session: Session, learner_id: str, live: int) -> list[Forgotten]:
    line = ancestry.line(session, learner_id, live)
    learned_by: dict[int, int] = {}
    for step in line:
        for task in step.tasks:
            learned_by.setdefault(task, step.number)
    known = line[-1].tasks if line else []
    wanted = {(version, task) for task in known for version in (learned_by[task], live)}
    columns = [getattr(AccuracyRow, name) for name in Cell.__dataclass_fields__]
    query = select(*columns).where(
        AccuracyRow.learner_id == learner_id,
        tuple_(AccuracyRow.version, AccuracyRow.task_index).in_(wanted),
    )
    cells = [Cell(*row) for row in session.execute(query)] if wanted else []
    measures = {(cell.version, cell.task_index): cell.measure() for cell in cells}
    return worse(
        (str(task), False, measures.get((learned_by[task], task)), measures.get((live, task)))
        for task in known
    )


def _classes(session: Session, learner: LearnerRow) -> list[Forgotten]:
    accuracies = class_accuracy.of_classes(session, learner, learners.class_table(session, learner))
    return worse((label, True, each.learned, each.now) for label, each in accuracies.items())


def worse(
    pairs: Iterable[tuple[str, bool, Measure | None, Measure | None]],
) -> list[Forgotten]:
    """Return those of several that are answered worse now, by more than chance explains among so many.

    Each is tested at a level that is divided by their number (Bonferroni), so that where nothing is forgotten hardly
    one in twenty learners is told of any.

    Args:
        pairs: Name, whether it is a class, and how well it was answered when learned and is now.
    """
    found = []
    for name, is_class, learned, now in pairs:
        change = difference(now, learned)
        if change is not None and learned is not None and now is not None:
            found.append(Forgotten(name, is_class, learned, now, change))
    return [each for each in found if _chance(each.change) * len(found) < FALSE_ALARMS]


def _chance(change: Measure) -> float:
    """Return how likely chance alone makes a difference this far below zero, read off its 95 % interval."""
    if change.value >= 0:
        return 1.0
    z = WIDTH_95 * -change.value / (change.high - change.value)
    return math.erfc(z / math.sqrt(2)) / 2


def _troubles(session: Session, condition: Any) -> list[Trouble]:
    query = (
        select(LearnerRow.name, func.count(), func.max(TaskRow.created_at))
        .join(LearnerRow, LearnerRow.id == TaskRow.learner_id)
        .where(condition)
        .group_by(LearnerRow.name)
        .order_by(func.max(TaskRow.created_at).desc())
    )
    return [Trouble(*row) for row in session.execute(query)]
