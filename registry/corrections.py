"""Corrections: images that show another class than they were sent with, or that were taken out; and the way back.

A correction is a task of mode `correct`, whose options say where each image goes. Versions never change, so what an
image shows depends on the line of versions: its row says what it shows with the learner's head, and is set anew
whenever that moves. What it was sent with stays beside it. An image that was taken out is in quarantine, so nothing
learns from it or measures with it, and it goes with its class or task when these are unlearned.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from registry import ancestry
from registry.errors import (
    ClassWouldBeEmptyError,
    ImagesNotCorrectableError,
    NothingLearnedError,
    NothingToCorrectError,
    UnknownContentError,
)
from registry.statuses import UNFINISHED
from registry.tables import LearnerRow, SampleRow, TaskRow, VersionRow

MODE = "correct"
"""`mode` of a task that corrects."""
REMOVED = "removed"
"""Why an image is in quarantine that a correction took out."""

Changes = Sequence[tuple[str, str | None]]
"""Images by the id of their sample, and the label that each is to have; None takes it out."""


@dataclass(frozen=True)
class Standing:
    """What an image shows."""

    label: str
    """Of one that was taken out, what it showed last."""
    is_removed: bool = False

    @property
    def shows(self) -> str | None:
        """The label that it counts for; None for one that was taken out."""
        return None if self.is_removed else self.label

    def then(self, label: str | None) -> "Standing":
        """Return what it shows after it was given a label, or was taken out."""
        return Standing(self.label, is_removed=True) if label is None else Standing(label)


def standing_of(row: SampleRow) -> Standing:
    """Return what an image shows with its learner's head."""
    return Standing(row.label, is_removed=row.quarantine == REMOVED)


def is_usable() -> Any:
    """Whether an image is one that counts, or that counted until a correction took it out."""
    return or_(SampleRow.quarantine.is_(None), SampleRow.quarantine == REMOVED)


def require_doable(session: Session, learner: LearnerRow, changes: Changes) -> list[str]:
    """Refuse a correction that could not be done on the learner's head; return the labels that it concerns.

    What waiting corrections change counts as changed.

    Args:
        session: Database session.
        learner: The learner, locked.
        changes: What is asked for, no image twice.

    Raises:
        NothingLearnedError: If there is no version yet.
        ImagesNotCorrectableError: If some images are none that the head has learned or is measured with.
        UnknownContentError: If the head does not know some of the labels.
        NothingToCorrectError: If all of the images show these labels already.
        ClassWouldBeEmptyError: If a class or task would be left without an image to learn from.
    """
    head = ancestry.head(session, learner)
    if head is None:
        raise NothingLearnedError
    rows = samples_of(session, learner.id, [sample_id for sample_id, _ in changes])
    known = {
        sample_id
        for sample_id, (index, row) in rows.items()
        if index in head.tasks and row.label in head.classes
    }
    if strange := [i for i, (sample_id, _) in enumerate(changes) if sample_id not in known]:
        raise ImagesNotCorrectableError(strange)
    unknown = [
        i for i, (_, label) in enumerate(changes) if label is not None and label not in head.classes
    ]
    if unknown:
        raise UnknownContentError([], unknown)
    waiting = _waiting(session, learner.id)
    moving = [
        (sample_id, label)
        for sample_id, label in changes
        if waiting.get(sample_id, standing_of(rows[sample_id][1]).shows) != label
    ]
    if not moving:
        raise NothingToCorrectError
    _require_left(session, learner.id, head, waiting | dict(moving))
    concerned = [rows[sample_id][1].label for sample_id, _ in moving]
    return list(dict.fromkeys([*concerned, *(label for _, label in moving if label is not None)]))


def samples_of(
    session: Session, learner_id: str, ids: Collection[str]
) -> dict[str, tuple[int, SampleRow]]:
    """Return those of a learner's images that can be corrected, by id, with the index of their task."""
    query = (
        select(TaskRow.index, SampleRow)
        .join(TaskRow, TaskRow.id == SampleRow.task_id)
        .where(TaskRow.learner_id == learner_id, SampleRow.id.in_(ids), is_usable())
    )
    return {row.id: (index, row) for index, row in session.execute(query)}


def train_samples(
    session: Session, learner_id: str, task_indexes: Collection[int]
) -> dict[int, list[SampleRow]]:
    """Return the training images of some tasks in the order they were sent, with those that were taken out."""
    query = (
        select(TaskRow.index, SampleRow)
        .join(TaskRow, TaskRow.id == SampleRow.task_id)
        .where(
            TaskRow.learner_id == learner_id,
            TaskRow.index.in_(task_indexes),
            SampleRow.split == "train",
            is_usable(),
        )
        .order_by(TaskRow.index, SampleRow.position)
    )
    samples: dict[int, list[SampleRow]] = {}
    for index, sample in session.execute(query):
        samples.setdefault(index, []).append(sample)
    return samples


def way_back(session: Session, learner: LearnerRow, task: TaskRow) -> Changes:
    """Return the correction that takes another one back: of each image that still is where that one put it.

    Args:
        session: Database session.
        learner: The learner.
        task: The correction to take back.

    Raises:
        NothingToCorrectError: If it is none of the head's line, or each of its images was changed again since.
    """
    steps = [step.number for step in ancestry.line(session, learner.id, learner.head_version)]
    if task.mode != MODE or task.learner_id != learner.id or task.version not in steps:
        raise NothingToCorrectError
    done = steps.index(task.version)
    rows = samples_of(session, learner.id, [sample_id for sample_id, _ in task.options["changes"]])
    taught = {sample_id: _as_taught(row) for sample_id, (_, row) in rows.items()}
    before, after, now = (
        _standings(session, learner.id, steps[:n], taught) for n in (done, done + 1, len(steps))
    )
    changes = [
        (sample_id, before[sample_id].shows)
        for sample_id in taught
        if now[sample_id] == after[sample_id] != before[sample_id]
    ]
    if not changes:
        raise NothingToCorrectError
    return changes


def apply(session: Session, learner_id: str, head: int) -> None:
    """Let the rows of images say what these show with a version that has just become the learner's head.

    Args:
        session: Database session; the learner is locked.
        learner_id: The learner.
        head: Number of the version; its rows are written.
    """
    numbers = [step.number for step in ancestry.line(session, learner_id, head)]
    concerned = {
        sample_id
        for task in _corrections(session, learner_id, None)
        for sample_id, _ in task.options["changes"]
    }
    if not concerned:
        return
    rows = samples_of(session, learner_id, concerned)
    taught = {sample_id: _as_taught(row) for sample_id, (_, row) in rows.items()}
    for sample_id, standing in _standings(session, learner_id, numbers, taught).items():
        row, sent_as = rows[sample_id][1], taught[sample_id].label
        row.label = standing.label
        row.taught_label = None if standing.label == sent_as else sent_as
        row.quarantine = REMOVED if standing.is_removed else None
    session.flush()


def _standings(
    session: Session, learner_id: str, numbers: Sequence[int], taught: Mapping[str, Standing]
) -> dict[str, Standing]:
    """Return what images show after the corrections among some versions, which are in order."""
    standings = dict(taught)
    for task in _corrections(session, learner_id, numbers):
        for sample_id, label in task.options["changes"]:
            if sample_id in standings:
                standings[sample_id] = standings[sample_id].then(label)
    return standings


def _corrections(
    session: Session, learner_id: str, numbers: Collection[int] | None
) -> list[TaskRow]:
    """Return a learner's published corrections, or those published as some versions, oldest first."""
    query = select(TaskRow).where(TaskRow.learner_id == learner_id, TaskRow.mode == MODE)
    is_chosen = TaskRow.version.is_not(None) if numbers is None else TaskRow.version.in_(numbers)
    return list(session.scalars(query.where(is_chosen).order_by(TaskRow.version)))


def _as_taught(row: SampleRow) -> Standing:
    return Standing(row.label if row.taught_label is None else row.taught_label)


def _waiting(session: Session, learner_id: str) -> dict[str, str | None]:
    """Return where the corrections that wait, or are at work, put images."""
    query = select(TaskRow.options).where(
        TaskRow.learner_id == learner_id, TaskRow.mode == MODE, TaskRow.status.in_(UNFINISHED)
    )
    return {
        sample_id: label
        for options in session.scalars(query.order_by(TaskRow.index))
        for sample_id, label in options["changes"]
    }


def _require_left(
    session: Session, learner_id: str, head: VersionRow, moving: Mapping[str, str | None]
) -> None:
    """Refuse to leave a class or task without an image to learn from."""
    bare_classes, bare_tasks = set(), set()
    left_of_classes, left_of_tasks = set(), set()
    for index, rows in train_samples(session, learner_id, head.tasks).items():
        for row in rows:
            before = standing_of(row).shows
            after = moving.get(row.id, before)
            if after is not None:
                left_of_classes.add(after)
                left_of_tasks.add(index)
            if before is not None and after != before:
                bare_classes.add(before)
                bare_tasks.add(index)
    classes = sorted(bare_classes - left_of_classes)
    if classes or bare_tasks - left_of_tasks:
        raise ClassWouldBeEmptyError(classes)
