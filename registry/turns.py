"""Whose turn it is in the queue: what a row waits for besides its own time."""

from sqlalchemy import ColumnElement, and_, case, exists, func, or_
from sqlalchemy.orm import aliased

from registry.statuses import WITH_WORKER, TaskStatus
from registry.tables import CONSOLIDATE, LearnerRow, TaskRow


def is_blocked(*, but_for: str = "") -> ColumnElement[bool]:
    """Return whether a row of the queue waits for another of its learner: two are never with workers at once.

    A task waits for those before it. A consolidation waits for every task, and for a held one that could be published
    on the learner's head: it would be too late for the person who decides.

    Args:
        but_for: Id of a task that is to be taken for one that has ended.
    """
    other = aliased(TaskRow)
    owner = aliased(LearnerRow)
    is_on_the_head = exists().where(
        owner.id == other.learner_id,
        owner.head_version == other.pending_version["parent"].as_integer(),
    )
    is_consolidation = TaskRow.mode == CONSOLIDATE
    goes_first = or_(
        and_(other.mode != CONSOLIDATE, or_(is_consolidation, other.index < TaskRow.index)),
        and_(other.mode == CONSOLIDATE, is_consolidation, other.index > TaskRow.index),
    )
    waits_for_a_person = and_(is_consolidation, other.status == TaskStatus.HELD, is_on_the_head)
    return exists().where(
        other.learner_id == TaskRow.learner_id,
        other.id != TaskRow.id,
        other.id != but_for,
        or_(
            other.status.in_(WITH_WORKER),
            and_(other.status == TaskStatus.QUEUED, goes_first),
            waits_for_a_person,
        ),
    )


def in_hours() -> ColumnElement[bool]:
    """Return whether a row may run at this hour. One that names no hours may at any."""
    start = TaskRow.options["hours"][0].as_integer()
    end = TaskRow.options["hours"][1].as_integer()
    utc = func.timezone("UTC", func.now())
    minute = func.extract("hour", utc) * 60 + func.extract("minute", utc)
    # From 22:00 to 06:00 is the night: what is after the start, or before the end.
    by_day = and_(minute >= start, minute < end)
    by_night = or_(minute >= start, minute < end)
    return or_(
        TaskRow.mode != CONSOLIDATE,
        ~TaskRow.options.has_key("hours"),
        case((start < end, by_day), else_=by_night),
    )
