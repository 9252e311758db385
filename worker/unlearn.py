"""Unlearning: an attempt at a task that takes something out of what its learner knows, instead of learning more."""

from collections.abc import Callable, Collection
from dataclasses import asdict
from typing import Any

from models import artifact
from models.backbone import Backbone
from models.progress import Progress
from models.strategies.base import Strategy
from models.strategies.values import Task
from registry import samples
from registry.blobs.store import BlobStore
from registry.postgres.database import Sessions
from registry.unlearning import MODE
from worker.attempt import Attempt
from worker.errors import PermanentTaskError
from worker.progress import ProgressReporter
from worker.samples import load_images


def is_unlearning(attempt: Attempt) -> bool:
    """Whether the task takes something out."""
    return attempt.task.mode == MODE


def unlearn(
    attempt: Attempt,
    backbone: Backbone,
    *,
    session_factory: Sessions,
    blobs: BlobStore,
    progress: ProgressReporter,
) -> tuple[Strategy[Any], dict[str, Any]]:
    """Take the task's tasks and classes out of the learner's head.

    Takes as long as the strategy does: nothing for sums, a training for `joint`.

    Returns:
        What is left, and what was done: the strategy's report with the tasks asked for and the classes that are gone.

    Raises:
        PermanentTaskError: `cannot-unlearn`, if the learner knows nothing, or would know nothing any more.
        UnlearningError: If the strategy cannot, or the learner does not know what is to go.
    """
    if attempt.parent_manifest_sha256 is None:
        raise PermanentTaskError("cannot-unlearn", "The learner has not learned anything.")
    strategy = artifact.load(blobs.get(attempt.parent_manifest_sha256), blobs.get, backbone)
    tasks, classes = attempt.task.options["tasks"], attempt.task.options["classes"]
    images: list[Task] = []
    if strategy.unlearning == "needs_images":
        losing = _losing(strategy, tasks, classes)
        with session_factory() as session:
            rows = samples.train_samples_by_task(session, attempt.learner.id, losing)
        on_fraction = _reports(progress)
        images = [
            Task(
                index=index,
                images=load_images(of_task, blobs, backbone, on_fraction),
                labels=tuple(row.label for row in of_task),
            )
            for index, of_task in rows.items()
        ]
    before = strategy.classes_
    report = strategy.unlearn(
        tasks=tasks, classes=classes, images=images, on_progress=progress.report
    )
    if not strategy.classes_:
        raise PermanentTaskError(
            "cannot-unlearn",
            "Nothing that is learned would remain: delete the learner instead, and create it again.",
        )
    gone = [label for label in before if label not in strategy.classes_]
    done = {**asdict(report), "exact": report.exact, "tasks": tasks, "classes": gone}
    return strategy, done


def _losing(strategy: Strategy[Any], tasks: Collection[int], classes: Collection[str]) -> list[int]:
    """Return the indexes of the tasks that lose something."""
    targets = [strategy.classes_.index(label) for label in classes if label in strategy.classes_]
    removal = strategy.ledger.without(tasks=tasks, targets=targets)
    return list(dict.fromkeys(entry.task for entry in removal.entries))


def _reports(progress: ProgressReporter) -> Callable[[float], None]:
    return lambda fraction: progress.report(Progress("preparing", fraction))
