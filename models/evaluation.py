"""Accuracy of a learned strategy on each task: on held-out images, and on training images left out in turn.

Held-out images are asked about as they are (`evaluate`), or by features that were kept of them (`evaluate_features`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from models.strategies.base import ImagesOf, Strategy
from models.strategies.values import Prediction

AT_ONCE = 1024
"""Images whose features are answered in one go: their answers are held in memory, one number a class."""


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
    return _counted(strategy, labels, _Answers.joined(map(_Answers.of, parts)), task_index)


@dataclass(frozen=True)
class Asked:
    """Held-out images of one task, as features."""

    task_index: int
    labels: tuple[str, ...]
    """Their true labels, length E > 0."""
    features: Tensor
    """As `Strategy.features_of` returned them, `(E, W)`."""
    images_of: ImagesOf
    """Called where a synapse fires."""


def evaluate_features(
    strategy: Strategy[Any], asked: Sequence[Asked], *, at_once: int = AT_ONCE
) -> list[TaskAccuracy]:
    """Answer held-out images of many tasks by their features, and count each task's as `evaluate` does.

    Args:
        strategy: Learned, and one that `reads_features`.
        asked: Tasks.
        at_once: Images a step, of whatever tasks.
    """
    owners = torch.cat([torch.full((len(one.labels),), i) for i, one in enumerate(asked)])
    places = torch.cat([torch.arange(len(one.labels)) for one in asked])
    features = torch.cat([one.features for one in asked])
    parts = []
    for rows in torch.arange(len(features)).split(at_once):

        def images_of(chosen: Tensor, rows: Tensor = rows) -> Tensor:
            return _gather(asked, owners[rows[chosen]], places[rows[chosen]])

        parts.append(_Answers.of(strategy.predict_features(features[rows], images_of)))
    answers = _Answers.joined(parts).split([len(one.labels) for one in asked])
    return [
        _counted(strategy, one.labels, mine, one.task_index)
        for one, mine in zip(asked, answers, strict=True)
    ]


def _gather(asked: Sequence[Asked], owners: Tensor, places: Tensor) -> Tensor:
    """Return images by the task, and the place in it, of each."""
    found: dict[int, Tensor] = {}
    for i in owners.unique().tolist():
        mine = owners == i
        images = asked[i].images_of(places[mine])
        found |= dict(zip(mine.nonzero().squeeze(1).tolist(), images, strict=True))
    return torch.stack([found[row] for row in range(len(owners))])


@dataclass(frozen=True)
class _Answers:
    """What is counted of predictions. Shapes: E images, T synapses."""

    answers: Tensor
    """Class index, int64 `(E,)`."""
    functional: Tensor
    """Bool `(E, T)`."""
    passes: Tensor
    """`(E,)`."""

    @classmethod
    def of(cls, prediction: Prediction) -> "_Answers":
        answers = prediction.probabilities.argmax(dim=1)
        return cls(answers, prediction.functional, prediction.passes)

    @classmethod
    def joined(cls, parts: Iterable["_Answers"]) -> "_Answers":
        answers, functional, passes = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(torch.cat(answers), torch.cat(functional), torch.cat(passes))

    def split(self, sizes: list[int]) -> list["_Answers"]:
        parts = (part.split(sizes) for part in vars(self).values())
        return [_Answers(*mine) for mine in zip(*parts, strict=True)]


def _counted(
    strategy: Strategy[Any], labels: tuple[str, ...], found: _Answers, task_index: int
) -> TaskAccuracy:
    fired = dict(zip(strategy.synapse_tasks_, found.functional.sum(dim=0).tolist(), strict=True))
    confusion = _confusion(labels, _named(strategy, found.answers))
    return TaskAccuracy(
        task_index=task_index,
        n=len(labels),
        n_correct=_n_right(confusion),
        n_routed=int(found.functional.any(dim=1).sum()),
        n_routed_right=fired.get(task_index, 0),
        passes=float(found.passes.float().mean()),
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
