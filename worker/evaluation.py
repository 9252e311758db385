"""Measuring what a learner knows: on the held-out images of every task, one after the other."""

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

import torch

from models.evaluation import TaskAccuracy, evaluate, with_cross_validation
from models.progress import Progress
from models.strategies.base import Strategy
from models.strategies.values import Task
from registry.blobs.store import BlobStore
from registry.tables import SampleRow
from registry.versions import NewAccuracy
from worker.progress import ProgressReporter
from worker.samples import load_images


def evaluate_tasks(
    strategy: Strategy[Any],
    held_out: dict[int, list[SampleRow]],
    task: Task | None,
    blobs: BlobStore,
    progress: ProgressReporter,
) -> tuple[list[NewAccuracy], dict[str, Any]]:
    """Evaluate every task that still has held-out images, or of which the strategy leaves out training images in turn.

    One task's images are in memory at a time.

    Returns:
        The accuracies, and further counts by name and task: confusions, routes, and what was cross-validated.
    """
    measured: list[TaskAccuracy] = []
    for i, (task_index, rows) in enumerate(held_out.items()):
        progress.report(Progress("evaluating", i / len(held_out)))
        labels = tuple(row.label for row in rows)
        images = _loaded(task, task_index, labels)
        if images is None:
            images = load_images(rows, blobs, strategy.backbone, lambda _: None)
        measured.append(evaluate(strategy, images, labels, task_index=task_index))
    return _sorted_out(with_cross_validation(strategy, measured))


def _sorted_out(cells: list[TaskAccuracy]) -> tuple[list[NewAccuracy], dict[str, Any]]:
    """Tell the numbers of each cell, which become a row, from its counts, which become metrics; empty ones left out."""
    accuracies = []
    counts: dict[str, Any] = {"confusion": {}, "routing": {}, "cross_validated": {}}
    for cell in cells:
        values = asdict(cell)
        of_task = {name: values.pop(name) for name in counts}
        accuracies.append(NewAccuracy(**values))
        if not cell.n:
            del of_task["routing"]  # no image took a route
        if not cell.n_cross_validated:
            del of_task["cross_validated"]
        for name, value in of_task.items():
            counts[name][str(cell.task_index)] = value
    if not counts["cross_validated"]:
        del counts["cross_validated"]
    return accuracies, counts


def _loaded(task: Task | None, task_index: int, labels: tuple[str, ...]) -> torch.Tensor | None:
    """Return the held-out images of a task if the task at hand holds them all; it lacks those it only measures."""
    if task is None or task.index != task_index or task.held_out_labels != labels:
        return None
    return task.held_out_images


def of_known_classes(
    held_out: dict[int, list[SampleRow]], known: Collection[str]
) -> dict[int, list[SampleRow]]:
    """Leave out images of classes that are not known, or not any more, and tasks of which then nothing is left."""
    kept = {index: [row for row in rows if row.label in known] for index, rows in held_out.items()}
    return {index: rows for index, rows in kept.items() if rows}
