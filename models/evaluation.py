"""Accuracy of a learned strategy on held-out images of one task."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.strategies.base import Strategy


@dataclass(frozen=True)
class TaskAccuracy:
    """A cell of the accuracy matrix, as counts."""

    task_index: int
    n: int
    """Images evaluated."""
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
    """For each task with a synapse, images for which that was functional. Empty for a strategy without synapses."""


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
    confusion: dict[str, dict[str, int]] = {}
    for label, answer in zip(labels, answers.tolist(), strict=True):
        row = confusion.setdefault(label, {})
        answered = strategy.classes_[answer]
        row[answered] = row.get(answered, 0) + 1
    return TaskAccuracy(
        task_index=task_index,
        n=len(labels),
        n_correct=sum(row.get(label, 0) for label, row in confusion.items()),
        n_routed=int(functional.any(dim=1).sum()),
        n_routed_right=fired.get(task_index, 0),
        passes=float(torch.cat([part.passes for part in parts]).float().mean()),
        confusion=confusion,
        routing=fired,
    )
