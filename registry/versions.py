"""Versions: immutable snapshots of a learner. Publishing one is a single transaction that ends by moving an alias."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from registry import ancestry, consolidations, corrections, learners, telling, unlearning
from registry.errors import (
    LearnerBusyError,
    StaleHeadError,
    TaskNotHeldError,
    TaskNotRetryableError,
    VersionErasedError,
    VersionNotFoundError,
)
from registry.events import append_event
from registry.ids import new_id
from registry.measures import Counts
from registry.paging import Page, decode_number, page_of
from registry.queue import lock_attempt, release_held
from registry.schedule import Schedule
from registry.statuses import UNFINISHED, TaskStatus
from registry.tables import (
    CONSOLIDATE,
    LEARNED_STAGE,
    AccuracyRow,
    AliasRow,
    LearnerRow,
    SampleRow,
    TaskRow,
    VersionRow,
)
from registry.tasks import get_task, request_cancel

ANY_TIME = Schedule()
"""As where the operator says nothing."""


@dataclass(frozen=True)
class NewAccuracy(Counts):
    """How a version does on the images of one task: those held out, and training images that it left out in turn."""

    task_index: int
    n: int
    n_correct: int
    n_routed: int
    n_routed_right: int
    passes: float
    n_cross_validated: int = 0
    n_cross_validated_correct: int = 0


@dataclass(frozen=True)
class NewVersion:
    """What a task has made of its learner, ready to be published. All JSON, so that a held task can keep it."""

    parent: int
    """Version it was built on; 0 for none."""
    task_index: int
    config: dict[str, Any]
    seed: int
    backbone_fingerprint: str
    manifest_sha256: str
    size_bytes: int
    classes: list[str]
    metrics: dict[str, Any]
    code_versions: dict[str, Any]
    accuracies: list[NewAccuracy] = field(default_factory=list)
    tasks: list[int] | None = None
    """Indexes of the tasks it knows something of, in the order they were learned; None for those of its parent and
    then its own."""
    stage: str = LEARNED_STAGE
    unconsolidated: list[int] = field(default_factory=list)
    """Those of the tasks that wait for a consolidation, in order."""
    result: dict[str, Any] | None = None
    """Of a consolidation: what it found."""


@dataclass(frozen=True)
class LiveVersion:
    """What the service needs to know to serve a learner."""

    learner_id: str
    learner_name: str
    strategy: str
    backbone: str
    config: dict[str, Any]
    """The configuration the version was learned with."""
    version: int
    manifest_sha256: str
    halved_to: int | None
    """What the learner's images become; see `LearnerRow`."""


def publish(
    session: Session,
    task_id: str,
    token: int,
    new_version: NewVersion,
    schedule: Schedule = ANY_TIME,
) -> VersionRow:
    """Publish what an attempt has learned: version, accuracies, head and the alias `live`, all or nothing.

    Queues a consolidation, if the schedule says so, of what the version leaves to be consolidated. One moves `live`
    only if that named what it built on: nobody has asked for it who wants another version served.

    Raises:
        FencedError: If the attempt is no longer current, or the task is being cancelled.
        StaleHeadError: If the learner's head is not the version it was built on.
    """
    learner = _lock_learner_of(session, task_id)
    task = lock_attempt(session, task_id, token, statuses={TaskStatus.RUNNING})
    return _publish(session, learner, task, new_version, schedule)


def hold(session: Session, task_id: str, token: int, new_version: NewVersion, reason: str) -> None:
    """Keep what an attempt has learned without publishing it: the task is `held` and a person decides.

    Args:
        session: Database session.
        task_id: Task of the attempt.
        token: Token of the attempt.
        new_version: What would be published.
        reason: One sentence for that person.

    Raises:
        FencedError: If the attempt is no longer current, or the task is being cancelled.
    """
    task = lock_attempt(session, task_id, token, statuses={TaskStatus.RUNNING})
    task.status = TaskStatus.HELD
    task.pending_version = asdict(new_version)
    task.error = {"code": "held", "detail": reason}
    task.lease_until = None
    session.flush()
    _append_evaluated(session, task, new_version)
    append_event(session, task.id, "end", {"status": TaskStatus.HELD})


def publish_held(
    session: Session, task_id: str, schedule: Schedule = ANY_TIME
) -> VersionRow | None:
    """Publish a held task after all; None if it was held before it was learned, and is queued now.

    Queues a consolidation as `publish` does.

    Raises:
        TaskNotFoundError: If there is no task with this id.
        TaskNotHeldError: If it is not held.
        TaskNotRetryableError: If it was not learned yet, and its images were deleted.
        StaleHeadError: If the learner has published another version since. Cancel and retry the task then.
    """
    learner = _lock_learner_of(session, task_id)
    task = get_task(session, task_id, lock=True)
    if task.status != TaskStatus.HELD:
        raise TaskNotHeldError(task_id, task.status)
    if task.pending_version is None:
        _require_samples(session, task)
        release_held(session, task)
        return None
    pending = dict(task.pending_version)
    accuracies = [NewAccuracy(**accuracy) for accuracy in pending.pop("accuracies")]
    task.pending_version = None
    new_version = NewVersion(**pending, accuracies=accuracies)
    return _publish(session, learner, task, new_version, schedule)


def get_version(session: Session, learner_id: str, number: int) -> VersionRow:
    """Return a version of a learner.

    Raises:
        VersionNotFoundError: If it has none of this number.
    """
    query = select(VersionRow).where(
        VersionRow.learner_id == learner_id, VersionRow.number == number
    )
    version = session.scalars(query).one_or_none()
    if version is None:
        raise VersionNotFoundError(learner_id, number)
    return version


def address_of(version: VersionRow) -> str:
    """Return the blob that a version is loaded from, that of its manifest.

    Raises:
        VersionErasedError: If it was erased.
    """
    if version.manifest_sha256 is None:
        raise VersionErasedError(version.number)
    return version.manifest_sha256


def move_head(session: Session, learner_id: str, number: int) -> None:
    """Let a learner's next task build on another version, earlier or later.

    Tasks whose versions do not lead to it become `superseded`; those that do are `succeeded`, again if need be. Images
    show what they did with that version, whatever was corrected on the way to another. A
    consolidation that waits or runs holds nobody up: it is taken up on whatever is the head then.

    Raises:
        LearnerNotFoundError: If there is no such learner.
        VersionNotFoundError: If it has no such version.
        VersionErasedError: If that was erased.
        LearnerBusyError: If one of its tasks waits or runs, consolidations aside.
    """
    learner = learners.get_learner_by_id(session, learner_id, lock=True)
    address_of(get_version(session, learner_id, number))
    of_learner = TaskRow.learner_id == learner_id
    busy = of_learner & TaskRow.status.in_(UNFINISHED) & (TaskRow.mode != CONSOLIDATE)
    if session.scalars(select(TaskRow.id).where(busy).limit(1)).first() is not None:
        raise LearnerBusyError
    learner.head_version = number
    leading = {step.number for step in ancestry.line(session, learner_id, number)}
    published = select(TaskRow).where(of_learner, TaskRow.version.is_not(None))
    for task in session.scalars(published.order_by(TaskRow.index).with_for_update()):
        status = TaskStatus.SUCCEEDED if task.version in leading else TaskStatus.SUPERSEDED
        if status != task.status:
            task.status = status
            data = {"status": status, "version": task.version}
            append_event(session, task.id, "end", data, is_told=False)
    session.flush()
    corrections.apply(session, learner_id, number)


def erased_among(session: Session, loaded: Collection[tuple[str, int]]) -> set[tuple[str, int]]:
    """Return those of some versions, each as id of its learner and number, that were erased."""
    key = tuple_(VersionRow.learner_id, VersionRow.number)
    query = select(VersionRow.learner_id, VersionRow.number).where(
        key.in_(loaded), VersionRow.erased_at.is_not(None)
    )
    return {(learner_id, number) for learner_id, number in session.execute(query)}


def list_versions(
    session: Session, learner_id: str, *, limit: int = 50, cursor: str | None = None
) -> Page[VersionRow]:
    """Return a page of a learner's versions, newest first.

    Raises:
        InvalidCursorError: If the cursor is not one of ours.
    """
    query = select(VersionRow).where(VersionRow.learner_id == learner_id)
    if cursor is not None:
        query = query.where(VersionRow.number < decode_number(cursor))
    rows = session.scalars(query.order_by(VersionRow.number.desc()).limit(limit + 1))
    return page_of(list(rows), limit, lambda version: (str(version.number),))


def live_versions(session: Session) -> list[LiveVersion]:
    """Return what each learner serves, by name. One query; learners without a version are left out."""
    query = (
        select(LearnerRow, VersionRow)
        .join(AliasRow, AliasRow.learner_id == LearnerRow.id)
        .join(
            VersionRow,
            (VersionRow.learner_id == LearnerRow.id) & (VersionRow.number == AliasRow.version),
        )
        .where(AliasRow.name == learners.LIVE)
        .order_by(LearnerRow.name)
    )
    return [_live(learner, version) for learner, version in session.execute(query)]


def find_live_version(
    session: Session, learner_name: str, number: int | None = None
) -> LiveVersion | None:
    """Return what a learner serves, or the version of a given number; None if it has learned nothing yet.

    Raises:
        LearnerNotFoundError: If there is no learner of this name.
        VersionNotFoundError: If it has no version of this number.
        VersionErasedError: If that was erased.
    """
    learner = learners.get_learner(session, learner_name)
    number = number or learners.live_version(session, learner.id)
    return _live(learner, get_version(session, learner.id, number)) if number else None


def _live(learner: LearnerRow, version: VersionRow) -> LiveVersion:
    return LiveVersion(
        learner_id=learner.id,
        learner_name=learner.name,
        strategy=learner.strategy,
        backbone=learner.backbone,
        config=version.config,
        version=version.number,
        manifest_sha256=address_of(version),
        halved_to=learner.halved_to,
    )


def _lock_learner_of(session: Session, task_id: str) -> LearnerRow:
    return learners.get_learner_by_id(session, get_task(session, task_id).learner_id, lock=True)


def _publish(
    session: Session,
    learner: LearnerRow,
    task: TaskRow,
    new_version: NewVersion,
    schedule: Schedule,
) -> VersionRow:
    if new_version.parent != learner.head_version:
        raise StaleHeadError(new_version.parent, learner.head_version)
    parent = (
        get_version(session, learner.id, learner.head_version) if learner.head_version else None
    )
    known = new_version.tasks
    if known is None:
        known = [*(parent.tasks if parent else ()), new_version.task_index]
    numbers = select(func.max(VersionRow.number)).where(VersionRow.learner_id == learner.id)
    version = VersionRow(
        id=new_id("ver"),
        learner_id=learner.id,
        number=(session.scalars(numbers).one() or 0) + 1,
        parent=new_version.parent or None,
        task_id=task.id,
        task_index=new_version.task_index,
        config=new_version.config,
        seed=new_version.seed,
        backbone_fingerprint=new_version.backbone_fingerprint,
        manifest_sha256=new_version.manifest_sha256,
        size_bytes=new_version.size_bytes,
        tasks=known,
        stage=new_version.stage,
        unconsolidated=new_version.unconsolidated,
        classes=new_version.classes,
        metrics=new_version.metrics,
        code_versions=new_version.code_versions,
    )
    session.add(version)
    session.flush()
    session.add_all(
        AccuracyRow(learner_id=learner.id, version=version.number, **asdict(accuracy))
        for accuracy in new_version.accuracies
    )
    was_held = task.status == TaskStatus.HELD
    task.status = TaskStatus.SUCCEEDED
    task.version = version.number
    task.result = new_version.result
    task.progress = {**task.progress, "phase": "publishing", "fraction": 1.0, "eta_seconds": 0.0}
    task.error = task.lease_until = None
    task.finished_at = func.now()
    learner.head_version = version.number
    if task.mode != CONSOLIDATE or learners.live_version(session, learner.id) == version.parent:
        learners.set_alias(session, learner.id, version.number)
    if task.mode == unlearning.MODE:
        if parent is not None:
            task.classes = [label for label in parent.classes if label not in version.classes]
        _erase_unlearned(session, task, version)
    if task.mode == corrections.MODE:
        session.flush()
        corrections.apply(session, learner.id, version.number)
    if not was_held:
        _append_evaluated(session, task, new_version)
    append_event(session, task.id, "published", {"version": version.number})
    append_event(
        session, task.id, "end", {"status": TaskStatus.SUCCEEDED, "version": version.number}
    )
    telling.published(
        session,
        version,
        parent,
        {cell.task_index: cell for cell in new_version.accuracies},
        {} if parent is None else _measured(session, parent),
    )
    done = task.options["tasks"] if task.mode == CONSOLIDATE else ()
    consolidations.queue_after(session, learner, version, schedule, done=done)
    return version


def _measured(session: Session, version: VersionRow) -> dict[int, NewAccuracy]:
    """Return what a version was measured at, by the index of the task."""
    query = select(AccuracyRow).where(
        AccuracyRow.learner_id == version.learner_id, AccuracyRow.version == version.number
    )
    names = [field.name for field in fields(NewAccuracy)]
    return {
        row.task_index: NewAccuracy(**{name: getattr(row, name) for name in names})
        for row in session.scalars(query)
    }


def _require_samples(session: Session, task: TaskRow) -> None:
    has_samples = select(SampleRow.id).where(SampleRow.task_id == task.id).limit(1)
    if session.scalars(has_samples).first() is None:
        raise TaskNotRetryableError(task.id, "the images of this one were deleted")


def _erase_unlearned(session: Session, task: TaskRow, version: VersionRow) -> None:
    unlearning.erase_unlearned(session, task, version)
    held = select(TaskRow.id).where(
        TaskRow.learner_id == task.learner_id,
        TaskRow.status == TaskStatus.HELD,
        TaskRow.pending_version.is_not(None),
        TaskRow.id != task.id,
    )
    # Built on a version that held it, and on what is no longer the head: it could not be published anyhow.
    for task_id in session.scalars(held).all():
        request_cancel(session, task_id)


def _append_evaluated(session: Session, task: TaskRow, new_version: NewVersion) -> None:
    measured = [(cell.task_index, cell.measure()) for cell in new_version.accuracies]
    accuracies = [
        {
            "task": task,
            "n": measure.n,
            "n_cross_validated": measure.n_cross_validated,
            "accuracy": measure.value,
            "low": measure.low,
            "high": measure.high,
        }
        for task, measure in measured
        if measure is not None
    ]
    append_event(session, task.id, "evaluated", {"accuracies": accuracies})
