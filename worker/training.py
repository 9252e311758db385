"""Learning a task's images: from what the learner knows so far, and from where an earlier attempt left it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import structlog
from torch import Tensor

from models.backbone import Backbone
from models.checkpoint import Checkpoints, SectionedCheckpoints, Snapshot
from models.errors import CheckpointError
from models.progress import Progress
from models.strategies.base import Strategy
from models.strategies.catalog import create_strategy
from models.strategies.values import LearningReport, Task
from registry.blobs.store import BlobStore
from registry.tables import SampleRow, TaskRow
from worker.attempt import Attempt, AttemptContext, identity
from worker.checkpoints import CheckpointKeeper, read_checkpoint
from worker.progress import ProgressReporter
from worker.samples import load_images

log = structlog.get_logger()

ResultT = TypeVar("ResultT")

LASTING = ("bottleneck", "pooling")
"""Hyperparameters that decide the shapes of what is stored. A learner keeps those it began with, whatever a task asks
for itself: what is there and what comes could not be put together."""


def load_task(
    attempt: Attempt, blobs: BlobStore, backbone: Backbone, progress: ProgressReporter
) -> Task:
    """Return the task with its images in memory, `3 S^2` bytes each.

    Raises:
        PermanentTaskError: `data-unreadable`, if an image is missing or damaged.
    """

    def on_fraction(fraction: float) -> None:
        progress.report(Progress("preparing", fraction))

    images = load_images([*attempt.train, *attempt.held_out], blobs, backbone, on_fraction)
    return task_of(attempt.task, images, attempt.train, attempt.held_out)


def task_of(
    row: TaskRow, images: Tensor, train: Sequence[SampleRow], held_out: Sequence[SampleRow]
) -> Task:
    """Return a task with its images, uint8 `(N + E, 3, S, S)`: those to train on first, as the rows of both say."""
    return Task(
        index=row.index,
        images=images[: len(train)],
        labels=tuple(sample.label for sample in train),
        held_out_images=images[len(train) :] if held_out else None,
        held_out_labels=tuple(sample.label for sample in held_out),
        seed=row.seed,
    )


def learn(
    attempt: Attempt,
    task: Task,
    backbone: Backbone,
    context: AttemptContext,
    progress: ProgressReporter,
) -> tuple[Strategy[Any], LearningReport]:
    """Learn the task, from where an earlier attempt left it if its checkpoint fits, and from the beginning if not."""

    def train(checkpoints: Checkpoints) -> tuple[Strategy[Any], LearningReport]:
        strategy = load_strategy(attempt, context, backbone)
        return strategy, strategy.learn(replace(task, checkpoints=checkpoints), progress.report)

    return go_on(attempt, context, identity(attempt, backbone), train)


def go_on(
    attempt: Attempt,
    context: AttemptContext,
    belongs_to: dict[str, Any],
    train: Callable[[Checkpoints], ResultT],
) -> ResultT:
    """Train from where an earlier attempt left it, or from the beginning if its checkpoint turns out not to fit.

    Args:
        attempt: The attempt.
        context: What it works with.
        belongs_to: All that decides what is trained: a checkpoint of anything else is none.
        train: Trains from what the learner knows so far; called again if the checkpoint does not fit.
    """
    keeper = CheckpointKeeper(
        context.session_factory,
        context.blobs,
        attempt.task.id,
        attempt.token,
        interval_s=context.settings.checkpoint_s,
        stop=context.stop,
    )

    def train_from(earlier: list[Snapshot]) -> ResultT:
        written_by = f"attempt {attempt.token}"
        return train(SectionedCheckpoints(keeper, belongs_to, earlier, written_by=written_by))

    earlier = read_checkpoint(attempt.task.checkpoint, context.blobs, belongs_to)
    try:
        return train_from(earlier)
    except CheckpointError as error:
        if not earlier:
            raise
        log.warning("checkpoint_ignored", reason=str(error))
        return train_from([])


def load_strategy(attempt: Attempt, context: AttemptContext, backbone: Backbone) -> Strategy[Any]:
    """Build the strategy with this task's configuration and what the learner knows so far."""
    name, config = attempt.learner.strategy, attempt.task.config
    if attempt.parent_manifest_sha256 is None:
        return create_strategy(name, config, backbone)
    parent = context.warm.learner(attempt.parent_manifest_sha256, context.blobs, backbone)
    strategy = create_strategy(name, with_lasting(config, parent), backbone)
    strategy.go_on_from(parent)
    return strategy


def with_lasting(config: dict[str, Any], known: Strategy[Any]) -> dict[str, Any]:
    """Return a configuration that has what lasts as a strategy has it that has learned something."""
    lasting = {name: getattr(known.config, name, config.get(name)) for name in LASTING}
    return {name: lasting.get(name, value) for name, value in config.items()}
