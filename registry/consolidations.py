"""Consolidations: the training that waits until it is quiet.

Each is a row of the table of tasks, so the row is still the queue; what differs is said here.
A task is learned at once, and its version says that it waits. A consolidation trains on the images of all that wait,
and is published only if what is known is answered better by it; otherwise it is `declined`. Nobody waits for one: it
goes after every task, and is put down for one.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session

from registry import ancestry, learners
from registry.errors import (
    ConsolidationOffError,
    NothingToConsolidateError,
    TaskNotRetryableError,
)
from registry.events import append_event
from registry.ids import new_id
from registry.schedule import Schedule
from registry.statuses import UNFINISHED, TaskStatus
from registry.tables import (
    CONSOLIDATE,
    INITIAL_PROGRESS,
    LearnerRow,
    SampleRow,
    TaskRow,
    VersionRow,
)

MOST_TRIES = 3
"""Consolidations in vain that a task takes part in by itself: the cost must not grow with all that ever failed."""
MOST_IMAGES = 5_000
"""To train on, of the newest tasks that wait, in one consolidation, which holds them in memory. The others follow."""
RECENT = 50
"""Consolidations that are looked at for those in vain."""


def request(
    session: Session,
    learner_name: str,
    *,
    schedule: Schedule,
    name: str | None = None,
    key_id: str | None = None,
) -> TaskRow:
    """Have a learner consolidated by hand, as soon as none of its tasks waits; whatever the hour.

    There is one at a time: what waits already is returned, and no longer waits for quiet; so is one that runs.

    Args:
        session: Database session.
        learner_name: Public name of the learner, whose row is locked until the transaction ends.
        schedule: Of the installation.
        name: The sender's own name for it.
        key_id: The key it is asked for with.

    Raises:
        LearnerNotFoundError: If there is no learner of this name.
        ConsolidationOffError: If the operator has said that nothing is consolidated.
        NothingToConsolidateError: If none of the learner's tasks waits for it with images.
    """
    learner = learners.get_learner(session, learner_name, lock=True)
    if schedule.when == "never":
        raise ConsolidationOffError
    if (task := pending(session, learner.id)) is not None:
        _start_at_once(session, task)
        return task
    head = ancestry.head(session, learner)
    if head is None or not waiting_tasks(session, head):
        raise NothingToConsolidateError
    options = {"tasks": None, "by_hand": True}
    return _add(session, learner, head, options, name=name, key_id=key_id)


def queue_after(
    session: Session,
    learner: LearnerRow,
    version: VersionRow,
    schedule: Schedule,
    *,
    done: Collection[int] = (),
) -> TaskRow | None:
    """Queue what a version just published leaves to be consolidated; None if that is nothing, or not wanted.

    One that waits already takes the new task along, unless it has begun, and waits for quiet anew.

    Args:
        session: Database session.
        learner: Its learner, locked.
        version: The version, whose rows are written.
        schedule: Of the installation.
        done: Indexes of the tasks that the version has just consolidated: they alone are no reason for another one.
    """
    if not schedule.queues or not set(_worth_trying(session, version)) - set(done):
        return None
    not_before = func.now() + timedelta(seconds=schedule.idle_s) if schedule.idle_s else None
    if (task := pending(session, learner.id)) is not None:
        if task.status == TaskStatus.QUEUED and not task.options["by_hand"]:
            task.not_before = not_before
            session.flush()
        return task
    options: dict[str, Any] = {"tasks": None, "by_hand": False}
    if schedule.hours is not None:
        options["hours"] = list(schedule.hours)
    return _add(session, learner, version, options, not_before=not_before)


def pending(session: Session, learner_id: str) -> TaskRow | None:
    """Return the consolidation of a learner that waits or runs; None if there is none."""
    query = select(TaskRow).where(
        TaskRow.learner_id == learner_id,
        TaskRow.mode == CONSOLIDATE,
        TaskRow.status.in_(UNFINISHED),
    )
    # A retried one may wait beside another: the older comes first.
    return session.scalars(query.order_by(TaskRow.index.desc()).limit(1)).first()


def require_doable(session: Session, learner: LearnerRow, task: TaskRow) -> None:
    """Refuse to take a consolidation up again that has nothing to do; else let it start by hand.

    Raises:
        TaskNotRetryableError: If another one waits or runs.
        NothingToConsolidateError: If none of the learner's tasks waits for it with images.
    """
    if pending(session, learner.id) is not None:
        raise TaskNotRetryableError(task.id, "another consolidation of this learner waits or runs")
    head = ancestry.head(session, learner)
    if head is None or not waiting_tasks(session, head):
        raise NothingToConsolidateError
    task.options = _by_hand(task.options)


def waiting_tasks(session: Session, version: VersionRow) -> list[int]:
    """Return those of a version's tasks that wait to be consolidated and still have training images, in order."""
    if not version.unconsolidated:
        return []
    there = (
        select(TaskRow.index)
        .where(
            TaskRow.learner_id == version.learner_id,
            TaskRow.index.in_(version.unconsolidated),
            exists().where(
                SampleRow.task_id == TaskRow.id,
                SampleRow.split == "train",
                SampleRow.quarantine.is_(None),
            ),
        )
        .distinct()
    )
    with_images = set(session.scalars(there))
    return [index for index in version.unconsolidated if index in with_images]


def _worth_trying(session: Session, version: VersionRow) -> list[int]:
    """Return those of the `waiting_tasks` of a version that were not tried in vain too often."""
    in_vain = (
        select(TaskRow.options)
        .where(
            TaskRow.learner_id == version.learner_id,
            TaskRow.mode == CONSOLIDATE,
            TaskRow.status == TaskStatus.DECLINED,
        )
        .order_by(TaskRow.index)
        .limit(RECENT)
    )
    tries = Counter(
        index for options in session.scalars(in_vain) for index in options["tasks"] or ()
    )
    return [index for index in waiting_tasks(session, version) if tries[index] < MOST_TRIES]


def _newest(session: Session, learner_id: str, indexes: Sequence[int]) -> list[int]:
    """Return the newest of some tasks, in order: as many as have no more than `MOST_IMAGES` together, at least one."""
    chosen: list[int] = []
    n_images = 0
    for row in reversed(learned_tasks(session, learner_id, indexes)):
        n_images += row.n_train
        if chosen and n_images > MOST_IMAGES:
            break
        chosen.insert(0, row.index)
    return chosen


def learned_tasks(session: Session, learner_id: str, indexes: Sequence[int]) -> list[TaskRow]:
    """Return the rows of some of a learner's tasks, in the order of these indexes."""
    query = select(TaskRow).where(TaskRow.learner_id == learner_id, TaskRow.index.in_(indexes))
    rows = {row.index: row for row in session.scalars(query)}
    return [rows[index] for index in indexes]


def tasks_of(session: Session, task: TaskRow) -> list[int]:
    """Return the indexes of the tasks that a consolidation is of, by what its learner's head still waits for.

    Those it was first taken up for: another attempt goes on with these, whatever was learned meanwhile. Less what was
    unlearned, or lost its images. All that wait if there is nothing to go on from.
    """
    learner = learners.get_learner_by_id(session, task.learner_id)
    head = ancestry.head(session, learner)
    if head is None:
        return []
    chosen = task.options["tasks"] if task.checkpoint is not None else []
    if again := [index for index in waiting_tasks(session, head) if index in chosen]:
        return again
    by_hand = bool(task.options.get("by_hand"))
    there = waiting_tasks(session, head) if by_hand else _worth_trying(session, head)
    return _newest(session, learner.id, there)


def take_up(session: Session, task: TaskRow) -> None:
    """Fix what a consolidation is of, for the attempt that claims it, what bounds it, and its configuration.

    It must not forget more than any of its tasks was to, and do no harm that one of them would have been held for. Its
    version answers as the head does that it builds on: a task may have brought hyperparameters meanwhile.
    """
    head = ancestry.head(session, learners.get_learner_by_id(session, task.learner_id))
    if head is not None:
        task.config = head.config
    indexes = tasks_of(session, task)
    of_tasks = [row.options for row in learned_tasks(session, task.learner_id, indexes)]
    bounds = [options.get("max_forgetting") for options in of_tasks]
    screenings = {options.get("screening") for options in of_tasks}
    task.options = {
        **task.options,
        "tasks": indexes,
        "max_forgetting": min((bound for bound in bounds if bound is not None), default=None),
        "screening": next((kind for kind in ("hold", "warn") if kind in screenings), "off"),
    }


def _start_at_once(session: Session, task: TaskRow) -> None:
    if task.status != TaskStatus.QUEUED:
        return
    task.options = _by_hand(task.options)
    task.not_before = task.rung_at = None
    session.flush()


def _by_hand(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key != "hours"} | {"by_hand": True}


def _add(
    session: Session,
    learner: LearnerRow,
    version: VersionRow,
    options: dict[str, Any],
    *,
    name: str | None = None,
    key_id: str | None = None,
    not_before: ColumnElement[Any] | None = None,
) -> TaskRow:
    lowest = select(func.min(TaskRow.index)).where(
        TaskRow.learner_id == learner.id, TaskRow.mode == CONSOLIDATE
    )
    task = TaskRow(
        id=new_id("tsk"),
        learner_id=learner.id,
        index=(session.scalars(lowest).one() or 0) - 1,
        name=name,
        mode=CONSOLIDATE,
        options=options,
        config=version.config,
        seed=version.seed,
        classes=[],
        n_train=0,
        n_eval=0,
        progress=INITIAL_PROGRESS,
        key_id=key_id,
        not_before=not_before,
    )
    session.add(task)
    session.flush()
    session.refresh(task)
    append_event(session, task.id, "queued", {"attempt": 0})
    return task
