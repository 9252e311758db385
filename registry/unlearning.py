"""Unlearning: which classes go, and what must not stay behind once they have gone.

Whatever a version, a sample or a held result holds of it goes with the publication; names and counts stay in the rows.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Select,
    Text,
    and_,
    cast,
    delete,
    func,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.orm import Session

from registry import ancestry
from registry import classes as classes_of_learner
from registry.errors import (
    NothingLearnedError,
    NothingWouldRemainError,
    TrainingImagesGoneError,
    UnknownContentError,
)
from registry.statuses import LEARNED, UNFINISHED
from registry.tables import (
    CONSOLIDATE,
    ClassRow,
    DeliveryRow,
    FeedbackRow,
    LearnerRow,
    PredictionImageRow,
    PredictionJobImageRow,
    PredictionJobRow,
    PredictionRow,
    SampleRow,
    TaskRow,
    VersionRow,
)

MODE = "unlearn"
"""`mode` of a task that unlearns."""


def labels_that_go(
    session: Session,
    learner: LearnerRow,
    *,
    tasks: Sequence[int],
    classes: Sequence[str],
    needs_images: bool = False,
) -> list[str]:
    """Return the classes that the learner's head would no longer know without some tasks and classes.

    What waiting tasks unlearn counts as unlearned.

    Args:
        session: Database session.
        learner: The learner, locked.
        tasks: Indexes of tasks to take out.
        classes: Labels to take out.
        needs_images: Whether the training images of what goes are needed.

    Raises:
        NothingLearnedError: If there is no version yet.
        UnknownContentError: If one of them is not known.
        NothingWouldRemainError: If all would go.
        TrainingImagesGoneError: If `needs_images` and some were deleted.
    """
    if not learner.head_version:
        raise NothingLearnedError
    known = ancestry.brought(session, learner.id, learner.head_version)
    for task in waiting(session, learner.id):
        known = _without(known, task.options["tasks"], task.options["classes"])
    before = list(dict.fromkeys(label for labels in known.values() for label in labels))
    strange_tasks = [i for i, index in enumerate(tasks) if index not in known]
    strange_classes = [i for i, label in enumerate(classes) if label not in before]
    if strange_tasks or strange_classes:
        raise UnknownContentError(strange_tasks, strange_classes)
    left = {label for labels in _without(known, tasks, classes).values() for label in labels}
    if not left:
        raise NothingWouldRemainError
    if needs_images:
        going = {
            (index, label)
            for index, labels in known.items()
            for label in labels
            if index in tasks or label in classes
        }
        _require_images(session, learner.id, going)
    return [label for label in before if label not in left]


@dataclass(frozen=True)
class UnlearningPreview:
    """What would be gone for good once some tasks and classes are unlearned."""

    classes: list[str]
    """Labels that the learner would no longer know."""
    versions: list[int]
    """Numbers of the versions that would be erased."""
    n_images: int
    """Stored images that would be deleted."""


def preview_unlearning(
    session: Session, learner: LearnerRow, *, tasks: Sequence[int], classes: Sequence[str]
) -> UnlearningPreview:
    """Return what would be gone for good if some tasks and classes were unlearned now.

    Args:
        session: Database session.
        learner: The learner.
        tasks: Indexes of tasks to take out.
        classes: Labels to take out.

    Raises:
        NothingLearnedError, UnknownContentError, NothingWouldRemainError: As `labels_that_go`.
    """
    labels = labels_that_go(session, learner, tasks=tasks, classes=classes)
    erased = select(VersionRow.number).where(
        VersionRow.learner_id == learner.id,
        VersionRow.erased_at.is_(None),
        _holds(session, learner.id, tasks, classes),
    )
    images = select(func.count()).select_from(_images(learner.id, tasks, classes).subquery())
    return UnlearningPreview(
        labels,
        list(session.scalars(erased.order_by(VersionRow.number))),
        session.scalars(images).one(),
    )


def erase_unlearned(session: Session, task: TaskRow, version: VersionRow) -> None:
    """Erase what else holds what a task has unlearned: older versions' artifacts, the rows of the images, other names.

    Images that came to be predicted go too, where feedback or a sample tells that they show it. So do the kept features
    of tasks that lose images; those of the images that stay are named anew by who measured them.

    Their blobs go with the next collections.

    Args:
        session: Database session; the learner is locked.
        task: The task that unlearned.
        version: What it was published as.
    """
    tasks, classes = task.options["tasks"], task.options["classes"]
    erased = session.scalars(
        update(VersionRow)
        .where(
            VersionRow.learner_id == task.learner_id,
            VersionRow.id != version.id,
            VersionRow.erased_at.is_(None),
            _holds(session, task.learner_id, tasks, classes),
        )
        .values(manifest_sha256=None, erased_at=func.now())
        .returning(VersionRow.number)
        .execution_options(synchronize_session=False)
    )
    gone = _images(task.learner_id, tasks, classes)
    _note_gone(session, task, sorted(erased), gone)
    _take_predictions_away(session, task, gone)
    _take_messages_away(session, task)
    _forget_checkpoints(session, task.learner_id)
    touched = select(SampleRow.task_id).where(SampleRow.id.in_(gone))
    session.execute(
        update(TaskRow)
        .where(TaskRow.id.in_(touched))
        .values(held_out_features=None)
        .execution_options(synchronize_session="fetch")
    )
    session.execute(
        delete(SampleRow).where(SampleRow.id.in_(gone)).execution_options(synchronize_session=False)
    )
    session.execute(
        delete(ClassRow)
        .where(ClassRow.learner_id == task.learner_id, ClassRow.label.in_(task.classes))
        .execution_options(synchronize_session=False)
    )


def _note_gone(session: Session, task: TaskRow, erased: list[int], gone: Select[str]) -> None:
    """Note at the task how much goes with it: nobody could count it afterwards."""
    n_images = session.scalars(select(func.count()).select_from(gone.subquery())).one()
    task.result = {**(task.result or {}), "gone": {"versions": erased, "images": n_images}}


def _take_messages_away(session: Session, task: TaskRow) -> None:
    """Delete what was told, or waits to be told, of classes that are gone, but for that this task has ended.

    They are found by the names that they were taught with and have now.
    """
    shown = classes_of_learner.shown(session, task.learner_id)
    names = {name for label in task.classes for name in (label, shown.name(label))}
    said = cast(DeliveryRow.data, Text)
    names_one = [func.strpos(said, json.dumps(name, ensure_ascii=False)) > 0 for name in names]
    if names_one:
        session.execute(
            delete(DeliveryRow)
            .where(
                DeliveryRow.learner_id == task.learner_id,
                DeliveryRow.data["task"].astext.is_distinct_from(task.id),
                or_(*names_one),
            )
            .execution_options(synchronize_session=False)
        )


def _forget_checkpoints(session: Session, learner_id: str) -> None:
    """Let consolidations that were put down begin anew: what they would go on from may have seen what is gone."""
    begun = update(TaskRow).where(
        TaskRow.learner_id == learner_id,
        TaskRow.mode == CONSOLIDATE,
        TaskRow.status.in_(UNFINISHED),
    )
    session.execute(begun.values(checkpoint=None).execution_options(synchronize_session="fetch"))


def waiting(session: Session, learner_id: str) -> list[TaskRow]:
    """Return the tasks that wait to unlearn something, or are at it; their options say what."""
    query = select(TaskRow).where(
        TaskRow.learner_id == learner_id,
        TaskRow.mode == MODE,
        TaskRow.status.in_(UNFINISHED),
    )
    return list(session.scalars(query))


def _holds(
    session: Session, learner_id: str, tasks: Sequence[int], classes: Sequence[str]
) -> ColumnElement[bool]:
    """Whether a version holds some of what goes: also what it took for another class, before that was corrected."""
    gone = _images(learner_id, tasks, classes)
    corrected = (
        select(TaskRow.index)
        .join(SampleRow, SampleRow.task_id == TaskRow.id)
        .where(SampleRow.id.in_(gone), SampleRow.taught_label.is_not(None))
    )
    there = sorted({*tasks, *session.scalars(corrected)})
    return or_(VersionRow.tasks.overlap(there), VersionRow.classes.overlap(classes))


def _images(learner_id: str, tasks: Sequence[int], classes: Sequence[str]) -> Select[str]:
    """Select the stored images of what goes."""
    taught_it = or_(
        TaskRow.index.in_(tasks), and_(SampleRow.label.in_(classes), TaskRow.status.in_(LEARNED))
    )
    return (
        select(SampleRow.id)
        .join(TaskRow, TaskRow.id == SampleRow.task_id)
        .where(TaskRow.learner_id == learner_id, taught_it)
    )


def _take_predictions_away(session: Session, task: TaskRow, gone: Select[str]) -> None:
    """Delete kept images of predictions that show what goes, by feedback or as copies of samples; and that feedback.

    Prediction jobs keep no copies either.
    """
    copies = select(SampleRow.blob_sha256).where(SampleRow.id.in_(gone))
    shows_it = or_(
        FeedbackRow.label.in_(task.classes),
        TaskRow.index.in_(task.options["tasks"]),
        PredictionImageRow.blob_sha256.in_(copies),
    )
    query = (
        select(PredictionImageRow.prediction_id, PredictionImageRow.index)
        .join(PredictionRow, PredictionRow.id == PredictionImageRow.prediction_id)
        .outerjoin(
            FeedbackRow,
            and_(
                FeedbackRow.prediction_id == PredictionImageRow.prediction_id,
                FeedbackRow.index == PredictionImageRow.index,
            ),
        )
        .outerjoin(TaskRow, TaskRow.id == FeedbackRow.task_id)
        .where(PredictionRow.learner_id == task.learner_id, shows_it)
    )
    keys = [tuple(key) for key in session.execute(query)]
    for row in (FeedbackRow, PredictionImageRow):
        statement = delete(row).where(tuple_(row.prediction_id, row.index).in_(keys))
        session.execute(statement.execution_options(synchronize_session=False))
    jobs = select(PredictionJobRow.id).where(PredictionJobRow.learner_id == task.learner_id)
    session.execute(
        update(PredictionJobImageRow)
        .where(
            PredictionJobImageRow.job_id.in_(jobs),
            PredictionJobImageRow.blob_sha256.in_(copies),
        )
        .values(blob_sha256=None)
        .execution_options(synchronize_session=False)
    )


def _without(
    known: Mapping[int, list[str]], tasks: Collection[int], classes: Collection[str]
) -> dict[int, list[str]]:
    left = {
        index: [label for label in labels if label not in classes]
        for index, labels in known.items()
        if index not in tasks
    }
    return {index: labels for index, labels in left.items() if labels}


def _require_images(session: Session, learner_id: str, going: set[tuple[int, str]]) -> None:
    there = select(TaskRow.index, SampleRow.label).join(TaskRow, TaskRow.id == SampleRow.task_id)
    there = there.where(
        TaskRow.learner_id == learner_id,
        TaskRow.index.in_({index for index, _ in going}),
        SampleRow.split == "train",
    )
    missing = going - {(index, label) for index, label in session.execute(there.distinct())}
    if missing:
        raise TrainingImagesGoneError(sorted({index for index, _ in missing}))
