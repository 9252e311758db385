"""Tasks as clients see them: added, listed, cancelled, retried. `registry.queue` is the workers' side.

A learner's tasks are learned in the order of their index, one at a time. Lock order: learner, then task.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, distinct, func, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from registry import ancestry, consolidations, corrections, learners, unlearning
from registry import classes as class_names
from registry.classes import PLAIN, Shown, look
from registry.errors import (
    LabelConfusableError,
    LabelKnownError,
    QuotaExceededError,
    StaleHeadError,
    TaskEndedError,
    TaskNotFoundError,
    TaskNotRetryableError,
)
from registry.events import append_event
from registry.ids import new_id
from registry.paging import Page, decode_cursor, page_of
from registry.statuses import (
    COUNTING,
    LEARNED,
    PENDING,
    RETRYABLE,
    UNFINISHED,
    WAITING,
    TaskStatus,
)
from registry.tables import (
    CONSOLIDATE,
    INITIAL_PROGRESS,
    FeedbackRow,
    LearnerRow,
    SampleRow,
    TaskRow,
    VersionRow,
)


@dataclass(frozen=True)
class QueueDepth:
    """How much is to be learned."""

    n_tasks: int
    """Those that wait, and those that some worker has."""
    oldest_age_s: float
    """Seconds since the first of them was added; 0 if there is none."""
    n_consolidations: int
    """Consolidations that wait or run. They count by themselves: nobody waits for them."""
    n_learners: int = 0
    """Learners of these tasks: as many workers can be busy, since those of one learner wait for each other."""


def add_task(
    session: Session,
    learner_name: str,
    *,
    name: str | None,
    mode: str,
    options: dict[str, Any],
    config: dict[str, Any],
    seed: int,
    classes: Sequence[str],
    n_train: int,
    n_eval: int,
    rejected: Sequence[dict[str, Any]] = (),
    quarantined: Sequence[dict[str, Any]] = (),
    n_duplicates: int = 0,
    layout: dict[str, Any] | None = None,
    n_known: int = 0,
    n_splits_kept: int = 0,
    expected_head_version: int | None = None,
    key_id: str | None = None,
    max_classes: int | None = None,
) -> TaskRow:
    """Queue a task for a learner. Add its samples in the same transaction.

    Labels are compared with those of the learner's head and of tasks that may still be published.

    Args:
        session: Database session.
        learner_name: Public name of the learner, whose row is locked until the transaction ends.
        name: The sender's own name for the task.
        mode: `new_classes` refuses known labels; `extend` allows them.
        options: The request's options, as JSON.
        config: Full configuration to learn with.
        seed: Everything random derives from it.
        classes: Distinct labels, normalised (NFC).
        n_train: Number of training images.
        n_eval: Number of held-out images.
        rejected: Images left out: `{index, filename, problem}` each.
        quarantined: Images kept but not used: `{index, filename, reason}` each.
        n_duplicates: Images that came more than once.
        layout: How the folders of the upload were read, as `TaskRow.layout` has it.
        n_known: Images left out because the learner has them.
        n_splits_kept: Images that stayed on the side they had before, although the request named the other one.
        expected_head_version: Refuse if the learner's head is another version.
        key_id: The key it is posted with; it counts for the quotas of that key.
        max_classes: Most classes that the learner may have; None is any number.

    Raises:
        LearnerNotFoundError: If there is no learner of this name.
        StaleHeadError: If the head is not `expected_head_version`.
        QuotaExceededError: If the learner would have more than `max_classes`.
        LabelKnownError: If the mode is `new_classes` and a label is known.
        LabelConfusableError: If a label differs from another one only in case, width or form.
    """
    learner = _lock_learner(session, learner_name, expected_head_version)
    known = known_labels(session, learner)
    check_labels(known, classes, mode, class_names.shown(session, learner.id))
    # What is there already may stay, also after the setting was lowered.
    if max_classes is not None and len(known | set(classes)) > max(max_classes, len(known)):
        raise QuotaExceededError(max_classes)
    learner.last_task_index += 1
    task = TaskRow(
        id=new_id("tsk"),
        learner_id=learner.id,
        index=learner.last_task_index,
        name=name,
        mode=mode,
        options=options,
        config=config,
        seed=seed,
        classes=list(classes),
        n_train=n_train,
        n_eval=n_eval,
        rejected=list(rejected),
        quarantined=list(quarantined),
        n_duplicates=n_duplicates,
        layout=layout,
        n_known=n_known,
        n_splits_kept=n_splits_kept,
        progress=INITIAL_PROGRESS,
        key_id=key_id,
    )
    session.add(task)
    session.flush()
    session.refresh(task)
    append_event(session, task.id, "queued", {"attempt": 0})
    return task


def add_unlearning(
    session: Session,
    learner_name: str,
    *,
    name: str | None,
    tasks: Sequence[int],
    classes: Sequence[str],
    options: dict[str, Any],
    needs_images: bool,
    expected_head_version: int | None = None,
    key_id: str | None = None,
) -> TaskRow:
    """Queue a task that takes earlier tasks and classes out of what the learner knows.

    Args:
        session: Database session.
        learner_name: Public name of the learner, whose row is locked until the transaction ends.
        name: The sender's own name for the task.
        tasks: Indexes of the tasks to take out.
        classes: Labels to take out, normalised (NFC).
        options: Further options of the request, as JSON.
        needs_images: Whether the learner's strategy has to see again what it takes out.
        expected_head_version: Refuse if the learner's head is another version.
        key_id: The key it is posted with.

    Raises:
        LearnerNotFoundError: If there is no learner of this name.
        StaleHeadError: If the head is not `expected_head_version`.
        NothingLearnedError, UnknownContentError, NothingWouldRemainError, TrainingImagesGoneError: If there is nothing
            of the kind that could be taken out.
    """
    learner = _lock_learner(session, learner_name, expected_head_version)
    gone = unlearning.labels_that_go(
        session, learner, tasks=tasks, classes=classes, needs_images=needs_images
    )
    head = ancestry.head(session, learner)
    assert head is not None
    return add_task(
        session,
        learner_name,
        name=name,
        mode=unlearning.MODE,
        options={**options, "tasks": list(tasks), "classes": list(classes)},
        config=head.config,
        seed=head.seed,
        classes=gone,
        n_train=0,
        n_eval=0,
        key_id=key_id,
    )


def add_correction(
    session: Session,
    learner_name: str,
    *,
    name: str | None,
    changes: corrections.Changes | None,
    undo: str | None = None,
    expected_head_version: int | None = None,
    key_id: str | None = None,
) -> TaskRow:
    """Queue a task that gives images other labels, or takes them out.

    Args:
        session: Database session.
        learner_name: Public name of the learner, whose row is locked until the transaction ends.
        name: The sender's own name for the task.
        changes: Where each image goes, no image twice; None if a correction is to be taken back.
        undo: Id of the correction to take back.
        expected_head_version: Refuse if the learner's head is another version.
        key_id: The key it is posted with.

    Raises:
        LearnerNotFoundError, TaskNotFoundError: If there is no learner of this name, or no such correction.
        StaleHeadError: If the head is not `expected_head_version`.
        NothingLearnedError, ImagesNotCorrectableError, UnknownContentError, NothingToCorrectError,
            ClassWouldBeEmptyError: As `corrections.require_doable`.
    """
    learner = _lock_learner(session, learner_name, expected_head_version)
    options: dict[str, Any] = {}
    if undo is not None:
        changes = corrections.way_back(session, learner, get_task(session, undo))
        options["undoes"] = undo
    assert changes is not None
    labels = corrections.require_doable(session, learner, changes)
    head = ancestry.head(session, learner)
    assert head is not None
    return add_task(
        session,
        learner_name,
        name=name,
        mode=corrections.MODE,
        options={**options, "changes": [list(change) for change in changes]},
        config=head.config,
        seed=head.seed,
        classes=labels,
        n_train=0,
        n_eval=0,
        key_id=key_id,
    )


def get_task(session: Session, task_id: str, *, lock: bool = False) -> TaskRow:
    """Return a task as it is now.

    Raises:
        TaskNotFoundError: If there is none with this id.
    """
    query = select(TaskRow).where(TaskRow.id == task_id)
    query = query.execution_options(populate_existing=True)
    if lock:
        query = query.with_for_update()
    task = session.scalars(query).one_or_none()
    if task is None:
        raise TaskNotFoundError(task_id)
    return task


def list_tasks(
    session: Session,
    *,
    learner_name: str | None = None,
    statuses: Collection[TaskStatus] = (),
    mode: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[TaskRow]:
    """Return a page of tasks, newest first; of one learner, of some statuses, and of one mode, if given.

    Consolidations are only there if their mode is asked for.

    Raises:
        LearnerNotFoundError: If there is no learner of this name.
        InvalidCursorError: If the cursor is not one of ours.
    """
    query = select(TaskRow).order_by(TaskRow.id.desc()).limit(limit + 1)
    query = query.where(TaskRow.mode == mode if mode else TaskRow.mode != CONSOLIDATE)
    if learner_name is not None:
        learner = learners.get_learner(session, learner_name)
        query = query.where(TaskRow.learner_id == learner.id)
    if statuses:
        query = query.where(TaskRow.status.in_(statuses))
    if cursor is not None:
        query = query.where(TaskRow.id < decode_cursor(cursor, 1)[0])
    return page_of(list(session.scalars(query)), limit, lambda task: (task.id,))


def position(session: Session, task: TaskRow) -> int | None:
    """Return the place of a queued task in the queue, from 1; None if it is not queued. Consolidations come last."""
    if task.status != TaskStatus.QUEUED:
        return None
    before = tuple_(TaskRow.created_at, TaskRow.id) < tuple_(task.created_at, task.id)
    goes_before = and_(TaskRow.mode != CONSOLIDATE, before)
    if task.mode == CONSOLIDATE:
        goes_before = or_(TaskRow.mode != CONSOLIDATE, before)
    query = select(func.count()).where(TaskRow.status == TaskStatus.QUEUED, goes_before)
    return 1 + session.scalars(query).one()


def queue_depth(session: Session) -> QueueDepth:
    """Return how many tasks wait and run, over all learners. One query."""
    is_task = TaskRow.mode != CONSOLIDATE
    oldest = func.min(TaskRow.created_at).filter(is_task)
    age = func.extract("epoch", func.now() - oldest)
    n_learners = func.count(distinct(TaskRow.learner_id)).filter(is_task)
    n_all, n_tasks, oldest_age_s, n_busy = session.execute(
        select(func.count(), func.count().filter(is_task), func.coalesce(age, 0), n_learners).where(
            TaskRow.status.in_(UNFINISHED)
        )
    ).one()
    return QueueDepth(n_tasks, max(0.0, float(oldest_age_s)), n_all - n_tasks, n_busy)


def request_cancel(session: Session, task_id: str) -> TaskRow:
    """Cancel a task: at once if it waits, soon if a worker has it (`cancelling`, again is fine).

    Raises:
        TaskNotFoundError: If there is none with this id.
        TaskEndedError: If it has ended.
    """
    task = get_task(session, task_id, lock=True)
    if task.status in WAITING:
        task.status = TaskStatus.CANCELLED
        task.finished_at = func.now()
        task.pending_version = None
        session.flush()
        session.refresh(task)
        append_event(session, task.id, "cancelled", {})
        append_event(session, task.id, "end", {"status": TaskStatus.CANCELLED})
    elif task.status == TaskStatus.RUNNING:
        task.status = TaskStatus.CANCELLING
        session.flush()
    elif task.status != TaskStatus.CANCELLING:
        raise TaskEndedError(task_id, task.status)
    return task


def retry_task(session: Session, task_id: str) -> TaskRow:
    """Queue a failed or cancelled task again, as if new. It is done on top of what its learner knows by then.

    Raises:
        TaskNotFoundError: If there is none with this id.
        TaskNotRetryableError: If it is in another status, or its images were deleted.
        LabelKnownError: If another task has brought its classes meanwhile.
        LabelConfusableError: If another task has brought a class that looks like one of its classes.
        UnknownContentError, NothingWouldRemainError: If it cannot unlearn any more what it was to.
        ImagesNotCorrectableError, NothingToCorrectError, ClassWouldBeEmptyError: The same of a correction.
        NothingToConsolidateError: If it is a consolidation, and nothing waits for one any more.
    """
    learner = learners.get_learner_by_id(session, get_task(session, task_id).learner_id, lock=True)
    task = get_task(session, task_id, lock=True)
    if task.status not in RETRYABLE:
        raise TaskNotRetryableError(task_id, f"this one is {task.status}")
    _require_doable(session, learner, task)
    task.status = TaskStatus.QUEUED
    task.attempt = 0
    task.progress = INITIAL_PROGRESS
    task.error = task.not_before = task.lease_until = None
    task.started_at = task.finished_at = None
    session.flush()
    append_event(session, task.id, "queued", {"attempt": 0})
    return task


def _lock_learner(
    session: Session, learner_name: str, expected_head_version: int | None
) -> LearnerRow:
    learner = learners.get_learner(session, learner_name, lock=True)
    if expected_head_version is not None and expected_head_version != learner.head_version:
        raise StaleHeadError(expected_head_version, learner.head_version)
    return learner


def _require_doable(session: Session, learner: LearnerRow, task: TaskRow) -> None:
    if task.mode == unlearning.MODE:
        task.classes = unlearning.labels_that_go(
            session, learner, tasks=task.options["tasks"], classes=task.options["classes"]
        )
        return
    if task.mode == corrections.MODE:
        task.classes = corrections.require_doable(session, learner, task.options["changes"])
        return
    if task.mode == CONSOLIDATE:
        consolidations.require_doable(session, learner, task)
        return
    has_images = select(SampleRow.id).where(SampleRow.task_id == task.id)
    if session.scalars(has_images).first() is None:
        raise TaskNotRetryableError(task.id, "the images of this one were deleted")
    of_it = select(func.count()).where(FeedbackRow.task_id == task.id)
    if session.scalars(of_it).one() != task.n_feedback:
        reason = "feedback that this one took was changed, withdrawn or taken by another task since"
        raise TaskNotRetryableError(task.id, reason)
    shown = class_names.shown(session, learner.id)
    check_labels(known_labels(session, learner), task.classes, task.mode, shown)
    _require_new_images(session, task)


def _require_new_images(session: Session, task: TaskRow) -> None:
    """Refuse a task some of whose images came again meanwhile: they would be learned twice, or change sides."""
    other = aliased(SampleRow)
    again = (
        select(SampleRow.id)
        .join(other, other.blob_sha256 == SampleRow.blob_sha256)
        .join(TaskRow, TaskRow.id == other.task_id)
        .where(
            SampleRow.task_id == task.id,
            SampleRow.quarantine.is_(None),
            other.quarantine.is_(None),
            other.task_id != task.id,
            TaskRow.learner_id == task.learner_id,
            or_(
                TaskRow.status.in_(COUNTING),
                and_(TaskRow.status.in_(LEARNED), other.split != SampleRow.split),
            ),
        )
    )
    if session.scalars(again.limit(1)).first() is not None:
        reason = (
            "images of this one came again with another task: send them in the mode `extend`, which learns those that "
            "are new"
        )
        raise TaskNotRetryableError(task.id, reason)


def known_labels(session: Session, learner: LearnerRow) -> set[str]:
    """Return the labels of the learner's head and of its tasks that may still be published."""
    head = select(VersionRow.classes).where(
        VersionRow.learner_id == learner.id, VersionRow.number == learner.head_version
    )
    pending = select(TaskRow.classes).where(
        TaskRow.learner_id == learner.id,
        TaskRow.status.in_(PENDING),
        TaskRow.mode.not_in((unlearning.MODE, corrections.MODE)),
    )
    return {
        label for labels in (*session.scalars(head), *session.scalars(pending)) for label in labels
    }


def check_labels(known: set[str], classes: Sequence[str], mode: str, shown: Shown = PLAIN) -> None:
    """Refuse labels that a task may not bring.

    Args:
        known: Labels that the learner knows, or is about to learn.
        classes: The task's; where it was sent the name of a class, that class's label.
        mode: `new_classes` refuses known labels.
        shown: What the learner's classes are called.

    Raises:
        LabelKnownError: If the mode is `new_classes` and one is known, or one is the name of another class.
        LabelConfusableError: If one differs from another, or from a known one, only in case, width or form.
    """
    repeated = [label for label in classes if label in known and mode == "new_classes"]
    # Named so since the labels were looked up.
    repeated += [label for label in classes if label in shown.labels]
    if repeated:
        raise LabelKnownError(repeated)
    owners = {**{label: label for label in (*known, *shown.names)}, **shown.labels}
    spelling = {look(spelled): label for spelled, label in owners.items()}
    for label in classes:
        twin = spelling.setdefault(look(label), label)
        # Twins that are both known are from before they were told apart: each may get more images.
        if twin != label and label not in known:
            raise LabelConfusableError(label, twin)
