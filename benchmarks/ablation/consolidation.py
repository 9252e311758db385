"""Groups `consolidation` and `frontier`: the functional adapter, and what passes beyond the first one buy.

Shapes: M test images, B images, T tasks, K classes, D feature width.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.ablation.features import PRODUCT, Features, Labels
from benchmarks.ablation.gates import task_posteriors
from benchmarks.ablation.spaces import (
    DRIFTS,
    Scores,
    Space,
    functional,
    gaussian_scores,
    log_answers,
    memories,
    opinions,
    own_covariance_scores,
    pooled,
    replay,
    still,
)
from models.fitting import derive_seed
from models.head import cosine_scores
from models.merging import merge
from models.statistics import ClassStatistics
from models.strategies.ranpac import RidgeMoments

MAX_ROUTED = 2
"""Silent sub-networks that may fire for one image; the default of `artsy`."""
SHARES = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Mean passes beyond the first that the frontier is drawn at."""

Row = dict[str, Any]


def consolidation_rows(features: Features, seed: int, *, projection_width: int) -> list[Row]:
    """Return the rows of how the functional adapter consolidates, how statistics follow it, and which head reads it.

    Args:
        features: Of one seed.
        seed: Names the rows, and draws what is replayed.
        projection_width: Columns of the head `random_projection`.
    """
    labels = features.labels
    moving = {name: functional(labels, chain) for name, chain in features.chains.items()}
    # Where nothing moves there is nothing to correct: one row stands for all drifts.
    cells = [("none", "none", still(features, 0)), ("first_task", "none", still(features, 1))]
    cells += [(name, drift, space) for name, space in moving.items() for drift in DRIFTS]
    gaussian: dict[str, Scores] = {
        "shared covariance": gaussian_scores,
        "own covariances": own_covariance_scores,
    }
    rows = [
        _row(name, drift, head, accuracies(space, drift, score), seed)
        for name, drift, space in cells
        for head, score in gaussian.items()
    ]
    heads: dict[str, Scores] = {
        "random_projection": ProjectedRidge(projection_width, seed),
        "cosine": lambda statistics, asked: cosine_scores(asked, statistics.means.float()),
    }
    for head, score in heads.items():
        rows.append(_row("mean", "linear", head, accuracies(moving["mean"], "linear", score), seed))
    if features.product:
        row = _row(PRODUCT, PRODUCT, PRODUCT, features.product["accuracy"].tolist(), seed)
        rows.append(row | {"passes": float(features.product["passes"][-1])})
    return rows


def accuracies(space: Space, drift: str, score: Scores) -> list[float]:
    """Return the accuracy on all classes seen after each task."""
    labels, shares = space.labels, []
    for t, memory in enumerate(memories(space, drift)):
        answers = score(pooled(memory), space.test[t]).argmax(dim=1)
        right = answers == labels.test_targets[labels.test_tasks <= t]
        shares.append(float(right.float().mean()))
    return shares


class ProjectedRidge:
    """RanPAC's head without images: ridge regression on a random projection of features drawn from the statistics."""

    def __init__(self, width: int, seed: int) -> None:
        self.width, self.seed = width, seed

    def __call__(self, statistics: ClassStatistics, features: Tensor) -> Tensor:
        """Draw as many features as there were images, regress, and score `(B, D)` as `(B, K)`."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, 7))
        D, K = features.shape[1], len(statistics.counts)
        projection = torch.randn(D, self.width, generator=generator).double()
        targets = torch.arange(K).repeat_interleave(statistics.counts.long())
        drawn = replay(statistics, targets, generator)
        moments = RidgeMoments.empty(self.width)
        for part, part_targets in zip(drawn.split(4096), targets.split(4096), strict=True):
            moments.add(torch.relu(part.double() @ projection), part_targets, K)
        solution = moments.solve(statistics.counts)
        return (torch.relu(features.double() @ projection) @ solution.weight).float()


def frontier_rows(features: Features, seed: int) -> list[Row]:
    """Return accuracy against passes, for each way to spend passes on the images whose answer is uncertain."""
    labels = features.labels
    space = functional(labels, features.chains["mean"])
    base = log_answers(space, score=own_covariance_scores)[-1]
    fresh = [features.train[t + 1, labels.train_tasks == t] for t in range(labels.n_tasks)]
    experts = {
        "fresh": opinions(labels, fresh, list(features.test[1:]), score=own_covariance_scores),
        "warm": opinions(
            labels, features.silent_train, list(features.silent_test), score=own_covariance_scores
        ),
    }
    currents = silent_currents(base, labels.class_tasks)
    rows = []
    for source, opinion in experts.items():
        for threshold, opened in firing(currents, min(MAX_ROUTED, labels.n_tasks)):
            joined = {
                "merge": merged(labels, base, opinion, opened),
                "evidence": base + evidence(labels, opinion, opened),
            }
            rows += [
                _frontier_row(features, f"{source} {join}", threshold, opened, scores, seed)
                for join, scores in joined.items()
            ]
    both = 0.5 * (base + mirrored_answers(features, space))
    for threshold, opened in firing(doubt(base), 1):
        answers = torch.where(opened, both, base)
        rows.append(_frontier_row(features, "mirror", threshold, opened, answers, seed))
    return rows


def silent_currents(log_probabilities: Tensor, class_tasks: Tensor) -> Tensor:
    """Return the product's currents `(B, T)`: probability of the task times probability that the answer is wrong."""
    return task_posteriors(log_probabilities, class_tasks).exp() * doubt(log_probabilities)


def doubt(log_probabilities: Tensor) -> Tensor:
    """Return the probability that the answer is wrong, float64 `(B, 1)`.

    Summed over the other classes: one minus the best would round to zero, and sure images could not be ranked.
    """
    probabilities = log_probabilities.double().exp()
    best = probabilities.argmax(dim=1, keepdim=True)
    return probabilities.scatter(1, best, 0.0).sum(dim=1, keepdim=True)


def firing(currents: Tensor, most: int) -> Iterator[tuple[float, Tensor]]:
    """Sweep the threshold over currents `(B, T)`, at most `most` an image: yield it and who fires, bool `(B, T)`."""
    strongest = torch.zeros_like(currents, dtype=torch.bool)
    strongest.scatter_(1, currents.topk(most, dim=1).indices, True)
    ordered = currents[strongest].sort(descending=True).values
    before = None
    for share in SHARES:
        n = round(share * len(currents))
        if n <= len(ordered):
            threshold = float(ordered[n - 1]) if n else 1.0  # a current stays below 1
            if threshold != before:
                yield threshold, strongest & (currents >= threshold)
            before = threshold


def mirrored_answers(features: Features, space: Space) -> Tensor:
    """Return what the last functional adapter makes of the mirrored test images, log-probabilities `(M, K)`."""
    mirrored = Space(
        labels=space.labels,
        before=space.before,
        after=space.after,
        test=[*space.test[:-1], features.mirrored],
        views=space.views,
    )
    return log_answers(mirrored, score=own_covariance_scores)[-1]


def merged(labels: Labels, base: Tensor, opinion: Tensor, opened: Tensor) -> Tensor:
    """Let every open sub-network decide among its own classes, as the product does: probabilities `(M, K)`."""
    probabilities = base.exp()
    for t in range(labels.n_tasks):
        rows = opened[:, t].nonzero().squeeze(1)
        classes = labels.classes(t)
        probabilities[rows] = merge(probabilities[rows], opinion[rows][:, classes], classes)
    return probabilities


def evidence(labels: Labels, opinion: Tensor, opened: Tensor) -> Tensor:
    """Return the log-evidence of the open sub-networks for their classes, zero for all others, `(M, K)`.

    It is their log-probability less that of a guess. Unlike `merged` it moves probability between tasks.
    """
    sizes = torch.bincount(labels.class_tasks)[labels.class_tasks]
    return torch.where(opened[:, labels.class_tasks], opinion + sizes.log(), 0.0)


def _frontier_row(
    features: Features, method: str, threshold: float, opened: Tensor, scores: Tensor, seed: int
) -> Row:
    labels = features.labels
    right = scores.argmax(dim=1) == labels.test_targets
    hit = None
    if opened.any() and method != "mirror":
        own = F.one_hot(labels.test_tasks, labels.n_tasks).bool()
        hit = float((opened & own).any(dim=1)[opened.any(dim=1)].float().mean())
    return {
        "group": "frontier",
        "method": method,
        "threshold": threshold,
        "seed": seed,
        "last": float(right.float().mean()),
        "average": None,
        "routing_accuracy": hit,
        "passes": 1.0 + float(opened.float().sum(dim=1).mean()),
    }


def _row(consolidation: str, drift: str, head: str, seen: list[float], seed: int) -> Row:
    return {
        "group": "consolidation",
        "consolidation": consolidation,
        "drift": drift,
        "head": head,
        "seed": seed,
        "last": seen[-1],
        "average": float(np.mean(seen)),
        "routing_accuracy": None,
        "passes": 1.0,
    }
