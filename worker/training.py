"""Learning a task's images: from what the learner knows so far, and from where an earlier attempt left it."""

from dataclasses import replace
from typing import Any

import structlog

from models.backbone import Backbone
from models.checkpoint import SectionedCheckpoints, Snapshot
from models.errors import CheckpointError
from models.progress import Progress
from models.strategies.base import Strategy
from models.strategies.catalog import create_strategy
from models.strategies.values import LearningReport, Task
from registry.blobs.store import BlobStore
from worker.attempt import Attempt, AttemptContext, identity
from worker.checkpoints import CheckpointKeeper, read_checkpoint
from worker.progress import ProgressReporter
from worker.samples import load_images

log = structlog.get_logger()


def load_task(
    attempt: Attempt, blobs: BlobStore, backbone: Backbone, progress: ProgressReporter
) -> Task:
    """Return the task with its images in memory, `3 S^2` bytes each.

    Raises:
        PermanentTaskError: `data-unreadable`, if an image is missing or damaged.
    """
    n_train, n_held_out = len(attempt.train), len(attempt.held_out)

    def on_fraction(fraction: float) -> None:
        progress.report(Progress("preparing", fraction))

    images = load_images([*attempt.train, *attempt.held_out], blobs, backbone, on_fraction)
    return Task(
        index=attempt.task.index,
        images=images[:n_train],
        labels=tuple(row.label for row in attempt.train),
        held_out_images=images[n_train:] if n_held_out else None,
        held_out_labels=tuple(row.label for row in attempt.held_out),
        seed=attempt.task.seed,
    )


def learn(
    attempt: Attempt,
    task: Task,
    backbone: Backbone,
    context: AttemptContext,
    progress: ProgressReporter,
) -> tuple[Strategy[Any], LearningReport]:
    """Learn the task, from where an earlier attempt left it if its checkpoint fits, and from the beginning if not."""
    belongs_to = identity(attempt, backbone)
    keeper = CheckpointKeeper(
        context.session_factory,
        context.blobs,
        attempt.task.id,
        attempt.token,
        interval_s=context.settings.checkpoint_s,
        stop=context.stop,
    )

    def learn_from(earlier: list[Snapshot]) -> tuple[Strategy[Any], LearningReport]:
        strategy = load_strategy(attempt, context, backbone)
        checkpoints = SectionedCheckpoints(
            keeper, belongs_to, earlier, written_by=f"attempt {attempt.token}"
        )
        return strategy, strategy.learn(replace(task, checkpoints=checkpoints), progress.report)

    earlier = read_checkpoint(attempt.task.checkpoint, context.blobs, belongs_to)
    try:
        return learn_from(earlier)
    except CheckpointError as error:
        if not earlier:
            raise
        log.warning("checkpoint_ignored", reason=str(error))
        return learn_from([])


def load_strategy(attempt: Attempt, context: AttemptContext, backbone: Backbone) -> Strategy[Any]:
    """Build the strategy with this task's configuration and what the learner knows so far."""
    strategy = create_strategy(attempt.learner.strategy, attempt.task.config, backbone)
    if attempt.parent_manifest_sha256 is not None:
        parent = context.warm.learner(attempt.parent_manifest_sha256, context.blobs, backbone)
        take_over(strategy, parent)
    return strategy


def take_over(strategy: Strategy[Any], known: Strategy[Any]) -> None:
    """Let a new strategy know what another knows, which stays as it is whatever becomes of the new one."""
    strategy.classes_ = known.classes_
    strategy.class_tasks_ = known.class_tasks_
    strategy.task_indexes_ = known.task_indexes_
    strategy.load_state_dict({key: tensor.clone() for key, tensor in known.state_dict().items()})
