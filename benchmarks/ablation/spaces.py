"""What a learner without old images knows of a feature that moves from task to task: statistics that move along.

Shapes: T tasks, K classes, B images, D feature width.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.ablation.features import Chain, Features, Labels
from models.calibration import GAUSSIAN_PRIOR, RunningTemperature, fit_temperature
from models.head import GaussianHead
from models.statistics import ClassGaussians, ClassStatistics, Drift
from models.strategies.artsy_gaussian.config import ArtsyGaussianConfig
from models.strategies.ranpac import RidgeMoments

SHRINKAGE = ArtsyGaussianConfig().shrinkage
"""Of every covariance here."""
DRIFTS = ("none", "mean_shift", "linear", "linear_means", "true")
"""How old statistics follow: not at all, by the mean move of the new images, by the affine map fitted on them, by the
same map for means alone, or measured again on the old images (which only a learner that keeps them has)."""

Memory = list[ClassGaussians]
"""The statistics of each task learned, its classes numbered from 0, all in the feature's present state."""
Scores = Callable[[ClassGaussians, Tensor], Tensor]
"""Logits `(B, K)` of features `(B, D)`."""


@dataclass(frozen=True)
class Space:
    """A feature over the tasks: one entry each, in the state after it."""

    labels: Labels
    before: list[Tensor] | None
    """The task's train images in the state before. None: the feature never moves."""
    after: list[Tensor]
    """The task's train images."""
    test: list[Tensor]
    """Test images of this task and all before."""
    views: list[Tensor]
    """All test images as a synapse trained on this task sees them in the end, `(M, D)`."""
    seen: list[Tensor] | None = None
    """Train images of this task and all before; None where those before cannot be known."""


def still(features: Features, branch: int) -> Space:
    """Return the feature of one branch, which is frozen from the first task on."""
    labels = features.labels
    train, test = features.train[branch], features.test[branch]
    steps = range(labels.n_tasks)
    return Space(
        labels=labels,
        before=None,
        after=[train[labels.train_tasks == t] for t in steps],
        test=[test[labels.test_tasks <= t] for t in steps],
        views=[test for _ in steps],
    )


def functional(labels: Labels, chain: Chain) -> Space:
    """Return the feature of a functional adapter."""
    return Space(
        labels=labels,
        before=chain.before,
        after=[
            seen[labels.train_tasks[labels.train_tasks <= t] == t]
            for t, seen in enumerate(chain.seen)
        ],
        test=chain.test,
        views=[chain.test[-1] for _ in chain.test],
        seen=chain.seen,
    )


def summed(features: Features) -> Space:
    """Return the sum of the frozen feature and those of all sub-networks there are, the paper's Eq. 3."""
    labels = features.labels
    mine = [features.train[: t + 2, labels.train_tasks == t] for t in range(labels.n_tasks)]
    running = list(features.test.cumsum(dim=0)[1:])
    return Space(
        labels=labels,
        before=[branches[:-1].sum(dim=0) for branches in mine],
        after=[branches.sum(dim=0) for branches in mine],
        test=[total[labels.test_tasks <= t] for t, total in enumerate(running)],
        views=running,
    )


def memories(space: Space, drift: str) -> Iterator[Memory]:
    """Yield what is known after each task."""
    labels, known = space.labels, Memory()
    for t, features in enumerate(space.after):
        if drift == "true" and space.seen is not None:
            known = _measure_again(labels, space.seen[t], t)
            yield known
            continue
        if space.before is not None and known:
            known = carry(known, drift, space.before[t], features)
        targets = labels.local_targets(t)
        known = [*known, measure(features, targets, len(labels.classes(t)))]
        yield known


def carry(known: Memory, drift: str, before: Tensor, after: Tensor) -> Memory:
    """Let statistics follow a move, seen on the same images `(N, D)` before and after.

    Raises:
        ValueError: If `drift` is none of `DRIFTS`, or `true`, for which old images are needed.
    """
    if drift == "none":
        return known
    if drift == "mean_shift":
        D = before.shape[1]
        offset = (after.double() - before.double()).mean(dim=0)
        move = Drift(torch.zeros(D, D, dtype=torch.float64), offset)
    elif drift in ("linear", "linear_means"):
        move = Drift.fit(before, after)
    else:
        raise ValueError(f"Statistics cannot follow by {drift}.")
    carried = [statistics.copy() for statistics in known]
    for old, new in zip(known, carried, strict=True):
        new.transport(move)
        if drift == "linear_means":
            new.scatter, new.scatters = old.scatter.clone(), old.scatters.clone()
    return carried


def measure(features: Tensor, targets: Tensor, n_classes: int) -> ClassGaussians:
    """Return the statistics of `features` `(N, D)` with `targets` `(N,)` below `n_classes`."""
    statistics = ClassGaussians.empty(features.shape[1])
    statistics.add(features, targets, n_classes)
    return statistics


def pooled(memory: Sequence[ClassGaussians], width: int | None = None) -> ClassGaussians:
    """Return the statistics of all classes with one scatter. Of no task they are empty, `width` wide."""
    if not memory:
        return ClassGaussians.empty(width or 0)
    return ClassGaussians(
        counts=torch.cat([statistics.counts for statistics in memory]),
        means=torch.cat([statistics.means for statistics in memory]),
        scatter=torch.stack([statistics.scatter for statistics in memory]).sum(dim=0),
        scatters=torch.cat([statistics.scatters for statistics in memory]),
    )


def gaussian_scores(statistics: ClassStatistics, features: Tensor) -> Tensor:
    """Return the logits of linear discriminant analysis."""
    return GaussianHead(statistics, shrinkage=SHRINKAGE).logits(features)


def own_covariance_scores(statistics: ClassStatistics, features: Tensor) -> Tensor:
    """Return the logits of regularised discriminant analysis, the default's head."""
    prior = ArtsyGaussianConfig().covariance_prior
    return GaussianHead(statistics, shrinkage=SHRINKAGE, prior=prior).logits(features)


def ridge_scores(statistics: ClassStatistics, features: Tensor) -> Tensor:
    """Return ridge scores in units of their expected error. The statistics are all that the regression needs."""
    counts = statistics.counts
    means = F.pad(statistics.means, (0, 1), value=1.0)  # the intercept
    gram = F.pad(statistics.scatter, (0, 1, 0, 1)) + means.T @ (counts[:, None] * means)
    solution = RidgeMoments(gram, means.T * counts).solve(counts)
    scores = F.pad(features.double(), (0, 1), value=1.0) @ solution.weight
    return (scores / solution.error).float()


def find_temperature(
    memory: Memory, features: Tensor, targets: Tensor, score: Scores, *, prior: float
) -> tuple[float, int]:
    """Calibrate the scores on a fifth of the newest task's images, held out of its statistics.

    Args:
        memory: The newest task's statistics come last.
        features: Its train images, `(N_t, D)`.
        targets: Theirs, counted from its first class, `(N_t,)`.
        score: Makes logits from statistics.
        prior: See `models.calibration`.

    Returns:
        The temperature and the number of images it was found on.
    """
    *old, newest = memory
    ranks = F.one_hot(targets).cumsum(dim=0)[torch.arange(len(targets)), targets] - 1
    out = ranks % 5 == 1  # the first image of a class always stays
    rest = measure(features[~out], targets[~out], len(newest.counts))
    n_old = sum(len(statistics.counts) for statistics in old)
    logits = score(pooled([*old, rest]), features[out])
    return fit_temperature(logits, targets[out] + n_old, prior=prior), int(out.sum())


def log_answers(
    space: Space, drift: str = "linear", *, score: Scores = gaussian_scores
) -> list[Tensor]:
    """Return the calibrated log-probabilities of a head on all seen test images after each task."""
    temperature, answers = RunningTemperature(), []
    for t, memory in enumerate(memories(space, drift)):
        value, n = find_temperature(
            memory,
            space.after[t],
            space.labels.local_targets(t),
            score,
            prior=GAUSSIAN_PRIOR,
        )
        temperature.add(value, n)
        logits = score(pooled(memory), space.test[t])
        answers.append(F.log_softmax(logits / temperature.value, dim=1))
    return answers


def opinions(
    labels: Labels,
    train: Sequence[Tensor],
    test: Sequence[Tensor],
    *,
    score: Scores = gaussian_scores,
) -> Tensor:
    """Ask every task's sub-network about its own classes.

    Args:
        labels: Of all images.
        train: Each task's images under its sub-network, `(N_t, D)`.
        test: All test images under each sub-network, `(M, D)`.
        score: The head that reads its features.

    Returns:
        Log-probabilities `(M, K)`, those of one task's classes summing to 1.
    """
    log_probabilities = []
    for t, (features, asked) in enumerate(zip(train, test, strict=True)):
        targets = labels.local_targets(t)
        memory = [measure(features, targets, len(labels.classes(t)))]
        temperature, _ = find_temperature(memory, features, targets, score, prior=GAUSSIAN_PRIOR)
        log_probabilities.append(F.log_softmax(score(memory[0], asked) / temperature, dim=1))
    return torch.cat(log_probabilities, dim=1)


def replay(statistics: ClassStatistics, targets: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a feature for each target from its class's Gaussian, float32 `(N, D)`."""
    covariance = statistics.covariance
    D = len(covariance)
    jitter = 1e-4 * covariance.diagonal().mean().clamp(min=1e-8)
    factor = torch.linalg.cholesky(covariance + jitter * torch.eye(D, dtype=torch.float64))
    noise = torch.randn(len(targets), D, dtype=torch.float64, generator=generator)
    drawn: Tensor = statistics.means[targets] + noise @ factor.T
    return drawn.float()


def _measure_again(labels: Labels, seen: Tensor, t: int) -> Memory:
    tasks = labels.train_tasks[labels.train_tasks <= t]
    return [
        measure(seen[tasks == s], labels.local_targets(s), len(labels.classes(s)))
        for s in range(t + 1)
    ]
