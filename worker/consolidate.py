"""Consolidating: an attempt that trains on the images of tasks which were learned without."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import structlog

from models.backbone import Backbone
from models.checkpoint import Checkpoints
from models.progress import Progress
from models.strategies.base import Strategy
from models.strategies.values import ConsolidationReport, Task
from registry import consolidations, queue, samples, versions
from registry.failpoints import failpoint
from registry.tables import CONSOLIDATE, SampleRow, TaskRow
from worker.attempt import Attempt, AttemptContext, code_versions
from worker.errors import PermanentTaskError, TemporaryTaskError
from worker.evaluation import of_known_classes
from worker.progress import ProgressReporter
from worker.samples import load_images
from worker.training import go_on, load_strategy, task_of
from worker.transactions import patience, retry_transaction

log = structlog.get_logger()

NOTHING_WAITS = (
    "Nothing waits to be consolidated any more: the images were deleted, or what they showed was unlearned or rolled "
    "back."
)


@dataclass(frozen=True)
class Material:
    """What a consolidation trains on."""

    tasks: list[TaskRow]
    """In the order they were learned."""
    train: dict[int, list[SampleRow]]
    held_out: dict[int, list[SampleRow]]
    """Both by index of the task; images of classes that the learner still knows."""

    def rows(self, index: int) -> list[SampleRow]:
        """Return a task's images, those to train on first."""
        return [*self.train[index], *self.held_out[index]]

    @property
    def ids(self) -> set[str]:
        """Ids of all its samples."""
        return {row.id for task in self.tasks for row in self.rows(task.index)}


def is_consolidation(attempt: Attempt) -> bool:
    """Whether the task is none that brings images of its own."""
    return attempt.task.mode == CONSOLIDATE


def consolidate(
    attempt: Attempt, backbone: Backbone, context: AttemptContext, progress: ProgressReporter
) -> tuple[Strategy[Any], dict[str, Any]] | None:
    """Consolidate what waits on the learner's head, from where an earlier attempt left it if its checkpoint fits.

    Takes as long as training does. All its images are in memory at once.

    Returns:
        What the learner knows now, and a report as JSON; None if nothing was adopted, and the row says so.

    Raises:
        TemporaryTaskError: If images were deleted just now.
        PermanentTaskError: `data-unreadable`, if an image is missing or damaged.
    """
    material = _find(attempt, context)
    if not material.tasks:
        decline(attempt, {"adopted": False, "reason": NOTHING_WAITS}, context)
        return None
    images = _load(attempt, material, backbone, context, progress)
    failpoint("learn.loaded")
    strategy, report = _train(attempt, material, images, backbone, context, progress)
    if not report.adopted:
        decline(attempt, asdict(report), context)
        return None
    return strategy, {"consolidation": asdict(report)}


def decline(attempt: Attempt, result: dict[str, Any], context: AttemptContext) -> None:
    """End the consolidation without a version."""
    retry_transaction(
        context.session_factory,
        lambda session: queue.decline(session, attempt.task.id, attempt.token, result),
        may_go_on=patience(context.stop),
    )
    log.info("attempt_ended", outcome="declined", reason=result["reason"])


def _find(attempt: Attempt, context: AttemptContext) -> Material:
    """Return what it is of: of all that it was taken up for, what still waits and is still there."""
    learner, chosen = attempt.learner, attempt.task.options["tasks"]
    if not learner.head_version:
        return Material([], {}, {})
    with context.session_factory() as session:
        head = versions.get_version(session, learner.id, learner.head_version)
        waiting = [i for i in consolidations.waiting_tasks(session, head) if i in chosen]
        of_them = consolidations.learned_tasks(session, learner.id, waiting)
        train = samples.train_samples_by_task(session, learner.id, waiting)
        held_out = samples.eval_samples_by_task(session, learner.id, waiting)
    train = of_known_classes(train, head.classes)
    trained = {index: {row.label for row in rows} for index, rows in train.items()}
    return Material(
        [task for task in of_them if task.index in train],
        train,
        {i: [row for row in held_out.get(i, []) if row.label in trained[i]] for i in train},
    )


def _load(
    attempt: Attempt,
    material: Material,
    backbone: Backbone,
    context: AttemptContext,
    progress: ProgressReporter,
) -> list[Task]:
    n_done, n = 0, sum(len(material.rows(task.index)) for task in material.tasks)

    def on_fraction(fraction: float) -> None:
        progress.report(Progress("preparing", (n_done + fraction * len(rows)) / n))

    loaded = []
    for task in material.tasks:
        rows = material.rows(task.index)
        try:
            images = load_images(rows, context.blobs, backbone, on_fraction)
        except PermanentTaskError as error:
            if _find(attempt, context).ids == material.ids:
                raise
            detail = "Images of a task were deleted while it was consolidated: it goes on without."
            raise TemporaryTaskError("internal", detail) from error
        n_done += len(rows)
        loaded.append(
            task_of(task, images, material.train[task.index], material.held_out[task.index])
        )
    return loaded


def _train(
    attempt: Attempt,
    material: Material,
    images: Sequence[Task],
    backbone: Backbone,
    context: AttemptContext,
    progress: ProgressReporter,
) -> tuple[Strategy[Any], ConsolidationReport]:
    assert attempt.parent_manifest_sha256 is not None
    head = context.warm.learner(attempt.parent_manifest_sha256, context.blobs, backbone)

    def train(checkpoints: Checkpoints) -> tuple[Strategy[Any], ConsolidationReport]:
        strategy = load_strategy(attempt, context, backbone)
        report = strategy.consolidate(
            images,
            seed=attempt.task.seed,
            on_progress=progress.report,
            checkpoints=checkpoints,
        )
        return strategy, report

    return go_on(attempt, context, identity(attempt, material, head, backbone), train)


def identity(
    attempt: Attempt, material: Material, head: Strategy[Any], backbone: Backbone
) -> dict[str, Any]:
    """Return all that decides what is trained: a checkpoint of anything else is none.

    Not the version that it builds on: what was learned meanwhile, without training, leaves the features as they are.
    """
    images = json.dumps(
        [
            (task.index, task.seed, row.split, row.label, row.blob_sha256)
            for task in material.tasks
            for row in material.rows(task.index)
        ]
    )
    return {
        "task": attempt.task.id,
        "tasks": [task.index for task in material.tasks],
        "seed": attempt.task.seed,
        "strategy": attempt.learner.strategy,
        "config": attempt.task.config,
        "features": head.fingerprint_of_features(),
        "images": hashlib.sha256(images.encode()).hexdigest(),
        "backbone": backbone.fingerprint,
        "code_versions": code_versions(),
    }
