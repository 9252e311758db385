"""The line of versions that leads to one: what the learner learned and unlearned on the way there."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.statuses import UNFINISHED, TaskStatus
from registry.tables import CONSOLIDATE, LearnerRow, TaskRow, VersionRow


@dataclass(frozen=True)
class Step:
    """One version of a line."""

    number: int
    tasks: list[int]
    """Indexes of the tasks it knows something of, in the order they were learned."""


@dataclass(frozen=True)
class HeadMove:
    """What building on another version does to the tasks of a learner."""

    superseded: list[int]
    """Indexes of those that end up beside the line."""
    restored: list[int]
    """Indexes of those that count again."""
    is_busy: bool
    """Whether one waits or runs, so that the head cannot move now."""


def head(session: Session, learner: LearnerRow) -> VersionRow | None:
    """Return the version that the learner's next task builds on; None before the first."""
    query = select(VersionRow).where(
        VersionRow.learner_id == learner.id, VersionRow.number == learner.head_version
    )
    return session.scalars(query).one_or_none()


def line(session: Session, learner_id: str, number: int) -> list[Step]:
    """Return a version and those it was built on, oldest first; none for version 0. One query."""
    rows = session.execute(
        select(VersionRow.number, VersionRow.parent, VersionRow.tasks).where(
            VersionRow.learner_id == learner_id, VersionRow.number <= number
        )
    )
    versions = {row.number: row for row in rows}
    steps: list[Step] = []
    following: int | None = number
    while following:
        version = versions[following]
        steps.append(Step(version.number, version.tasks))
        following = version.parent
    return steps[::-1]


def if_head_moved(session: Session, learner_id: str, number: int) -> HeadMove:
    """Return what `versions.move_head` to a version would change. Two queries."""
    leading = {step.number for step in line(session, learner_id, number)}
    query = select(TaskRow.index, TaskRow.version, TaskRow.status).where(
        TaskRow.learner_id == learner_id, TaskRow.mode != CONSOLIDATE
    )
    tasks = session.execute(query.order_by(TaskRow.index)).all()
    return HeadMove(
        superseded=[
            index
            for index, version, status in tasks
            if status == TaskStatus.SUCCEEDED and version not in leading
        ],
        restored=[
            index
            for index, version, status in tasks
            if status == TaskStatus.SUPERSEDED and version in leading
        ],
        is_busy=any(status in UNFINISHED for _, _, status in tasks),
    )


def brought(session: Session, learner_id: str, number: int) -> dict[int, list[str]]:
    """Return, for each task that a version knows, the classes it still contributes. Three queries.

    A class that several tasks brought stands under each of them, first under the one that introduced it. Where images
    were corrected a task contributes what they show since.
    """
    steps = line(session, learner_id, number)
    classes, corrected = _classes(session, learner_id, [step.number for step in steps])
    of_tasks = select(TaskRow.index, TaskRow.classes).where(TaskRow.learner_id == learner_id)
    labels: dict[int, list[str]] = {index: own for index, own in session.execute(of_tasks)}  # noqa: C416
    classes_of: dict[int, list[str]] = {}
    for step in steps:
        known, shows = set(classes[step.number]), corrected[step.number]
        # What this version does not know was unlearned by then; learned again later, it counts as new.
        classes_of = {
            index: [
                label
                for label in shows.get(str(index), classes_of.get(index, labels[index]))
                if label in known
            ]
            for index in step.tasks
        }
    return classes_of


def introduced(session: Session, learner_id: str, number: int) -> dict[str, int]:
    """Return for each class of a version the number of the first one on its line that knows it without a gap."""
    steps = line(session, learner_id, number)
    classes, _ = _classes(session, learner_id, [step.number for step in steps])
    first: dict[str, int] = {}
    for step in steps:
        first = {label: first.get(label, step.number) for label in classes[step.number]}
    return first


def _classes(
    session: Session, learner_id: str, numbers: list[int]
) -> tuple[dict[int, list[str]], dict[int, dict[str, list[str]]]]:
    """Return the classes of some versions; and those of the tasks whose images each has corrected, by their index."""
    of_tasks = VersionRow.metrics["correction"]["classes"]
    query = select(VersionRow.number, VersionRow.classes, of_tasks).where(
        VersionRow.learner_id == learner_id, VersionRow.number.in_(numbers)
    )
    rows = session.execute(query).all()
    return {row[0]: row[1] for row in rows}, {row[0]: row[2] or {} for row in rows}
