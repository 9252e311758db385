"""Accuracy of a learned strategy on each task: on held-out images, and on training images left out in turn."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from models.strategies.base import Strategy


@dataclass(frozen=True)
class TaskAccuracy:
    """A cell of the accuracy matrix, as counts."""

    task_index: int
    n: int
    """Held-out images evaluated."""
    n_correct: int
    n_routed: int
    """Images for which at least one synapse was functional."""
    n_routed_right: int
    """Of those, images whose own task's synapse was functional."""
    passes: float
    """Mean forwards of the backbone an image."""
    confusion: dict[str, dict[str, int]]
    """Counts by true label, then by answered label; zeros left out."""
    routing: dict[int, int]
    """For each task with a synapse, held-out images for which that was functional. Empty for a strategy without
    synapses."""
    n_cross_validated: int = 0
    """Training images answered by a head that never saw them; in `confusion` too."""
    n_cross_validated_correct: int = 0
    cross_validated: dict[str, int] = field(default_factory=dict)
    """How many of these by true label."""


def evaluate(
    strategy: Strategy[Any],
    images: Tensor,
    labels: tuple[str, ...],
    *,
    task_index: int,
    batch_size: int = 64,
) -> TaskAccuracy:
    """Predict held-out images over all classes learned so far, and count.

    Args:
        strategy: Learned.
        images: uint8 `(E, 3, H, W)`, E > 0.
        labels: Their true labels.
        task_index: Index of the task they belong to.
        batch_size: Images a pass.
    """
    parts = [strategy.predict(part) for part in images.split(batch_size)]
    answers = torch.cat([part.probabilities.argmax(dim=1) for part in parts])
    functional = torch.cat([part.functional for part in parts])
    fired = dict(zip(strategy.synapse_tasks_, functional.sum(dim=0).tolist(), strict=True))
    confusion = _confusion(labels, _named(strategy, answers))
    return TaskAccuracy(
        task_index=task_index,
        n=len(labels),
        n_correct=_n_right(confusion),
        n_routed=int(functional.any(dim=1).sum()),
        n_routed_right=fired.get(task_index, 0),
        passes=float(torch.cat([part.passes for part in parts]).float().mean()),
        confusion=confusion,
        routing=fired,
    )


def with_cross_validation(
    strategy: Strategy[Any], measured: Sequence[TaskAccuracy]
) -> list[TaskAccuracy]:
    """Join what was measured on held-out images with what the strategy answers to training images it leaves out.

    Rows that were carried along count only for a task of which nothing is held out: the map that carried them says
    nothing of how far it is off.

    Args:
        strategy: Learned. One that does not cross-validate changes nothing.
        measured: Cells of held-out images, at most one a task.

    Returns:
        A cell for each task that has either kind, in the order they were learned.
    """
    validation = strategy.cross_validation()
    if validation is None:
        return list(measured)
    cells = {cell.task_index: cell for cell in measured}
    for task in validation.tasks.unique().tolist():
        chosen = validation.tasks == task
        cell = cells.get(task) or _unmeasured(task)
        if cell.n:
            chosen = chosen & ~validation.carried
        labels = _named(strategy, validation.targets[chosen])
        confusion = _confusion(labels, _named(strategy, validation.answers[chosen]))
        cells[task] = replace(
            cell,
            n_cross_validated=len(labels),
            n_cross_validated_correct=_n_right(confusion),
            confusion=_joined(cell.confusion, confusion),
            cross_validated={label: sum(row.values()) for label, row in confusion.items()},
        )
    return [cells[task] for task in strategy.task_indexes_ if task in cells]


def _unmeasured(task_index: int) -> TaskAccuracy:
    return TaskAccuracy(
        task_index=task_index,
        n=0,
        n_correct=0,
        n_routed=0,
        n_routed_right=0,
        passes=0.0,
        confusion={},
        routing={},
    )


def _named(strategy: Strategy[Any], indexes: Tensor) -> list[str]:
    return [strategy.classes_[index] for index in indexes.tolist()]


def _confusion(labels: Iterable[str], answers: Iterable[str]) -> dict[str, dict[str, int]]:
    confusion: dict[str, dict[str, int]] = {}
    for label, answered in zip(labels, answers, strict=True):
        row = confusion.setdefault(label, {})
        row[answered] = row.get(answered, 0) + 1
    return confusion


def _joined(
    one: dict[str, dict[str, int]], other: dict[str, dict[str, int]]
) -> dict[str, dict[str, int]]:
    joined = {label: dict(row) for label, row in one.items()}
    for label, row in other.items():
        counts = joined.setdefault(label, {})
        for answered, n in row.items():
            counts[answered] = counts.get(answered, 0) + n
    return joined


def _n_right(confusion: dict[str, dict[str, int]]) -> int:
    return sum(row.get(label, 0) for label, row in confusion.items())
