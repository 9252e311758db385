"""One row of the grid: a learner is taught a stream, and asked about it. Shapes: N images asked about."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.class_incremental import (
    BINS,
    Increment,
    binned_scores,
    calibration_error,
    is_right,
    novelty_auroc,
    predict,
    state_bytes,
)
from benchmarks.few_images.cells import Stream
from benchmarks.teaching import Teacher
from models.strategies.base import Strategy
from models.strategies.values import Prediction

DRAWS = 200
"""Of right and wrong, that the floor is the mean of: of 150 images its standard error is below 0.15 %."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one strategy made of one stream. Shares in 0..1."""

    backbone: str
    image_size: int
    data: str
    classes: int
    images: int | str
    """A class, held-out ones among them."""
    strategy: str
    config: dict[str, Any]
    seed: int
    last: float
    """Accuracy on all test images after the last task."""
    average: float
    """Mean over the tasks of the accuracy on all classes taught by then."""
    auroc: float
    """Of novelty, images nobody taught against test images, after the last task."""
    false_alarms: float
    """Share of the test images that are not `known` at the default threshold."""
    recognised: float
    """Share of the images nobody taught that are not `known`."""
    calibration_errors: list[float]
    """Expected calibration error after each task."""
    calibration_floor: float
    """What it would be after the last task if the very same probabilities were perfectly calibrated."""
    passes: float
    seconds_per_task: float
    state_kb_per_class: float


def measure(strategy: Strategy[Any], stream: Stream, about: dict[str, Any]) -> Row:
    """Teach a strategy a stream, and ask it after every task.

    Args:
        strategy: One that knows nothing yet.
        stream: What it is taught.
        about: The cell: the fields of the row that say what was measured.
    """
    accuracies, errors, seconds = [], [], 0.0
    teacher = Teacher(strategy)
    for i, taught in enumerate(stream.tasks):
        seconds += teacher.teach(taught.task)
        known = stream.tasks[: i + 1]
        prediction = predict(strategy, known)
        right = is_right(strategy, prediction, known)
        accuracies.append(float(right.double().mean()))
        errors.append(calibration_error(prediction, right))
    others = predict(strategy, [Increment(stream.tasks[-1].task, stream.untaught, ())])
    return Row(
        **about,
        last=round(accuracies[-1], 4),
        average=round(sum(accuracies) / len(accuracies), 4),
        auroc=round(novelty_auroc(prediction, others), 4),
        false_alarms=round(share_new(strategy, prediction), 4),
        recognised=round(share_new(strategy, others), 4),
        calibration_errors=[round(error, 4) for error in errors],
        calibration_floor=round(calibration_floor(prediction), 4),
        passes=round(float(prediction.passes.float().mean()), 3),
        seconds_per_task=round(seconds / len(stream.tasks), 2),
        state_kb_per_class=round(
            state_bytes(strategy) / 1000 / prediction.probabilities.shape[1], 1
        ),
    )


def calibration_floor(prediction: Prediction) -> float:
    """Return the expected calibration error that perfectly calibrated answers with these probabilities would show.

    It is above 0 because a bin of few images is seldom as often right as it is on average. Each answer is drawn to be
    right with its own probability; the mean over many draws, always the same for the same probabilities.
    """
    scores, bins = binned_scores(prediction)
    scores = scores.double()
    chance = torch.rand(
        DRAWS, len(scores), dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    missed = (chance < scores).double() - scores
    gaps = (missed @ F.one_hot(bins, BINS).double()).abs().sum(dim=1) / len(scores)
    return float(gaps.mean())


def share_new(strategy: Strategy[Any], prediction: Prediction) -> float:
    """Return the share of the images that a service would not call known."""
    return float((prediction.novelty > strategy.novelty_threshold).double().mean())
