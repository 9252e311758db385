"""From scores to probabilities, and from distances to novelty, with what fits in a few numbers a task."""

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from models.state import StateReader

GAUSSIAN_PRIOR = 2.0
"""Temperature to assume for Gaussian log-likelihoods: features of unseen images scatter more than the model says."""
COSINE_PRIOR = 1 / 16
"""Temperature to assume for cosines: the inverse of the scale cosine heads are trained with."""
LOGIT_PRIOR = 1.0
"""Temperature to assume for the logits of a trained linear head."""
RIDGE_PRIOR = 0.5
"""Temperature to assume for ridge scores in units of their expected error. Measured on test images: 0.42 to 0.58 for 10
to 100 classes of CIFAR-100, 20 or 50 training images each, 500 or 2,000 random columns, on the bundled backbone."""


def fit_temperature(logits: Tensor, targets: Tensor, *, prior: float) -> float:
    """Return the most probable temperature, given held-out images.

    Searches a grid of logarithms, then refines it: the objective has one variable and needs no gradient. The prior, a
    log-normal one with deviation 1, keeps a small held-out set without a mistake from claiming certainty.

    Args:
        logits: `(N, K)`.
        targets: int64 `(N,)`.
        prior: Temperature to assume without evidence: one of the constants above.

    Returns:
        A temperature within a factor of 100 of the prior; probabilities are `softmax(logits / temperature)`.

    Reference:
        Guo et al., 2017, https://arxiv.org/abs/1706.04599. Differs: maximum a posteriori instead of maximum likelihood.
    """
    N, K = logits.shape
    if N == 0 or K < 2:
        return prior

    def loss(log_ratio: float) -> float:
        scaled = logits / (prior * math.exp(log_ratio))
        return float(F.cross_entropy(scaled, targets)) + 0.5 * log_ratio**2 / N

    low, high = -math.log(100), math.log(100)
    for _ in range(4):
        grid = torch.linspace(low, high, 25).tolist()
        losses = [loss(log_ratio) for log_ratio in grid]
        best = min(range(len(grid)), key=losses.__getitem__)
        low, high = grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)]
    return prior * math.exp((low + high) / 2)


class RunningTemperature:
    """The temperatures of all tasks so far as one: their mean logarithm, weighted by held-out images.

    Old tasks' held-out images may be gone, so each task contributes what it measured when it was learned.
    """

    def __init__(self, measured: Tensor | None = None) -> None:
        self.measured = torch.zeros(0, 2, dtype=torch.float64) if measured is None else measured
        """Rows of `(n, logarithm of the temperature)`, `(T, 2)`."""

    @property
    def weight(self) -> float:
        """Held-out images of all tasks."""
        return float(self.measured[:, 0].sum())

    @property
    def value(self) -> float:
        """The temperature to divide logits by."""
        n, logs = self.measured.T
        return math.exp(float((n * logs).sum()) / self.weight) if self.weight else 1.0

    def add(self, temperature: float, n: int) -> None:
        """Take in a temperature fitted on `n` images."""
        row = torch.tensor([[n, math.log(temperature)]], dtype=torch.float64)
        self.measured = torch.cat([self.measured, row])


class FamiliarityScale:
    """How far known images usually are, task by task: turns a distance into a novelty.

    Each task's held-out distances are kept as mean and deviation of their logarithm; novelty is the share of that
    mixture of log-normals that lies nearer. Three numbers a task, no image, and a tail that stays graded beyond the
    last sample.
    """

    def __init__(self, moments: Tensor | None = None) -> None:
        self.moments = torch.zeros(0, 3, dtype=torch.float64) if moments is None else moments
        """Rows of `(n, mean, standard deviation)` of log distances, `(T, 3)`."""

    def add(self, distances: Tensor) -> None:
        """Take in the distances `(N,)` of one task's held-out images to their nearest class."""
        logs = distances.double().clamp(min=1e-12).log()
        spread = float(logs.std()) if len(logs) > 1 else 0.0
        row = [float(len(logs)), float(logs.mean()), max(spread, 0.05)]
        self.moments = torch.cat([self.moments, torch.tensor([row], dtype=torch.float64)])

    def novelty(self, distances: Tensor) -> Tensor:
        """Return the share of held-out known images nearer than each distance: `(N,)` in `[0, 1]`."""
        if len(self.moments) == 0:
            return torch.zeros(len(distances))
        n, mean, spread = self.moments.T
        logs = distances.double().clamp(min=1e-12).log()
        nearer = torch.special.ndtr((logs[:, None] - mean) / spread)
        share: Tensor = (nearer * n).sum(dim=1) / n.sum()
        return share.float()


class Calibration:
    """Temperature and familiarity of one head, gathered over tasks."""

    def __init__(self, *, prior: float) -> None:
        self.prior = prior
        self.temperature = RunningTemperature()
        self.familiarity = FamiliarityScale()
        self.tasks = torch.zeros(0, dtype=torch.int64)
        """Index of the task of each row of both, `(T,)`."""

    def add(self, logits: Tensor, targets: Tensor, distances: Tensor, *, task: int = 0) -> None:
        """Take in one task's held-out images.

        Args:
            logits: `(N, K)` over all classes learned so far.
            targets: int64 `(N,)`.
            distances: `(N,)`, non-negative, to the nearest class.
            task: Its index, for a strategy that may drop it again.
        """
        if len(targets) == 0:
            return
        self.temperature.add(fit_temperature(logits, targets, prior=self.prior), len(targets))
        self.familiarity.add(distances)
        self.tasks = torch.cat([self.tasks, torch.tensor([task])])

    def drop(self, tasks: Collection[int]) -> None:
        """Take out what these tasks measured."""
        stays = ~torch.isin(self.tasks, torch.tensor(list(tasks), dtype=torch.int64))
        self.temperature = RunningTemperature(self.temperature.measured[stays])
        self.familiarity = FamiliarityScale(self.familiarity.moments[stays])
        self.tasks = self.tasks[stays]

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return calibrated probabilities `(B, K)`."""
        value = self.temperature.value if self.temperature.weight else self.prior
        return torch.softmax(logits / value, dim=-1)

    def state_dict(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors under prefixed keys."""
        return {
            f"{prefix}tasks": self.tasks.clone(),
            f"{prefix}temperature": self.temperature.measured.clone(),
            f"{prefix}familiarity": self.familiarity.moments.clone(),
        }

    def load_state_dict(self, state: Mapping[str, Tensor], prefix: str) -> None:
        """Take over what `state_dict` returned.

        Raises:
            CheckpointError: If a tensor is missing or has another shape, as in versions of an older layout.
        """
        reader = StateReader(state, prefix, what="the calibration")
        tasks = reader.tensor("tasks", (None,), torch.int64)
        temperature = reader.tensor("temperature", (len(tasks), 2), torch.float64)
        moments = reader.tensor("familiarity", (len(tasks), 3), torch.float64)
        self.tasks = tasks.clone()
        self.temperature = RunningTemperature(temperature.clone())
        self.familiarity = FamiliarityScale(moments.clone())
