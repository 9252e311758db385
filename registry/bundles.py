"""Versions that leave an installation in a bundle, and learners that come in with one. The file is up to the service.

What comes in is a new learner whose first version knows all tasks at once. Each of these gets a row that has succeeded,
of mode `IMPORTED` and without samples, so that the next task's index, its labels and its accuracy fit on.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry import ancestry, learners
from registry.blobs.store import BlobStore
from registry.errors import BlobMissingError
from registry.events import append_event
from registry.ids import new_id
from registry.samples import keep_blobs
from registry.statuses import TaskStatus
from registry.tables import (
    IMPORTED,
    INITIAL_PROGRESS,
    LEARNED_STAGE,
    AccuracyRow,
    LearnerRow,
    TaskRow,
    VersionRow,
)
from registry.versions import NewAccuracy

FIRST = 1
"""Number that an imported version gets."""


@dataclass(frozen=True)
class LearnedTask:
    """A task that a version knows."""

    index: int
    name: str | None
    classes: list[str]
    """All that it contributes, also what others brought before."""


@dataclass(frozen=True)
class Provenance:
    """What the rows tell of a version besides the version's own."""

    tasks: list[LearnedTask]
    """In the order they were learned."""
    accuracies: list[tuple[int, NewAccuracy]]
    """Each with its version's number: of this version and those it was built on."""


@dataclass(frozen=True)
class NewLearner:
    """A learner that comes in with a version."""

    strategy: str
    backbone: str
    config: dict[str, Any]
    """For the tasks to come."""
    version_config: dict[str, Any]
    """That the version was learned with."""
    seed: int
    backbone_fingerprint: str
    manifest_sha256: str
    size_bytes: int
    classes: list[str]
    tasks: list[LearnedTask]
    """In the order they were learned."""
    metrics: dict[str, Any]
    code_versions: dict[str, Any]
    accuracies: list[NewAccuracy]
    """Of the version."""
    stage: str = LEARNED_STAGE
    unconsolidated: list[int] = field(default_factory=list)
    """Those of the tasks that wait for a consolidation: in vain, since their images stay where they were."""
    halved_to: int | None = None
    """What its images become; see `LearnerRow`."""


def read_provenance(session: Session, version: VersionRow) -> Provenance:
    """Return what a version has learned, and how it and those before it did."""
    brought = ancestry.brought(session, version.learner_id, version.number)
    of_tasks = select(TaskRow.index.label("task_index"), TaskRow.name).where(
        TaskRow.learner_id == version.learner_id, TaskRow.index.in_(version.tasks)
    )
    names = {row.task_index: row.name for row in session.execute(of_tasks)}
    tasks = [LearnedTask(index, names[index], brought[index]) for index in version.tasks]
    line = [step.number for step in ancestry.line(session, version.learner_id, version.number)]
    columns = [getattr(AccuracyRow, field.name) for field in fields(NewAccuracy)]
    cells = session.execute(
        select(AccuracyRow.version, *columns)
        .where(
            AccuracyRow.learner_id == version.learner_id,
            AccuracyRow.version.in_(line),
            AccuracyRow.task_index.in_(version.tasks),
        )
        .order_by(AccuracyRow.version, AccuracyRow.task_index)
    )
    return Provenance(tasks, [(number, NewAccuracy(*cell)) for number, *cell in cells])


def import_learner(
    session: Session, name: str, new: NewLearner, files: Collection[str], blobs: BlobStore
) -> LearnerRow:
    """Add a learner whose version 1 is the imported one. It is served from then on, and the next task builds on it.

    Args:
        session: Database session.
        name: Of the learner.
        new: What it is and knows.
        files: Blobs that the manifest names. They and the manifest lie in the store already.
        blobs: The store.

    Raises:
        LearnerExistsError: If the name is taken.
        BlobMissingError: If a blob is not, or no longer, in the store. Put it again and repeat.
    """
    learner = learners.create_learner(
        session,
        name,
        strategy=new.strategy,
        backbone=new.backbone,
        config=new.config,
        halved_to=new.halved_to,
    )
    keep_blobs(session)
    for sha256 in blobs.missing({new.manifest_sha256, *files}):
        raise BlobMissingError(sha256)
    learner.head_version = FIRST
    learner.last_task_index = max(task.index for task in new.tasks)
    rows = {task.index: _task_row(learner, task, new) for task in new.tasks}
    session.add_all(rows.values())
    session.flush()
    newest = new.tasks[-1].index
    session.add(
        VersionRow(
            id=new_id("ver"),
            learner_id=learner.id,
            number=FIRST,
            parent=None,
            task_id=rows[newest].id,
            task_index=newest,
            tasks=[task.index for task in new.tasks],
            config=new.version_config,
            seed=new.seed,
            backbone_fingerprint=new.backbone_fingerprint,
            manifest_sha256=new.manifest_sha256,
            size_bytes=new.size_bytes,
            stage=new.stage,
            unconsolidated=new.unconsolidated,
            classes=new.classes,
            metrics=new.metrics,
            code_versions=new.code_versions,
        )
    )
    session.flush()
    session.add_all(
        AccuracyRow(learner_id=learner.id, version=FIRST, **asdict(accuracy))
        for accuracy in new.accuracies
    )
    learners.set_alias(session, learner.id, FIRST)
    for row in rows.values():
        append_event(session, row.id, "published", {"version": FIRST})
        data = {"status": TaskStatus.SUCCEEDED, "version": FIRST}
        append_event(session, row.id, "end", data, is_told=False)
    session.refresh(learner)
    return learner


def _task_row(learner: LearnerRow, task: LearnedTask, new: NewLearner) -> TaskRow:
    return TaskRow(
        id=new_id("tsk"),
        learner_id=learner.id,
        index=task.index,
        name=task.name,
        mode=IMPORTED,
        options={},
        config=new.version_config,
        seed=new.seed,
        classes=task.classes,
        n_train=0,
        n_eval=0,
        rejected=[],
        status=TaskStatus.SUCCEEDED,
        progress={**INITIAL_PROGRESS, "phase": "publishing", "fraction": 1.0, "eta_seconds": 0.0},
        version=FIRST,
        finished_at=func.now(),
    )
