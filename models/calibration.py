"""From scores to probabilities, and from distances to novelty, with what fits in a few numbers a task."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.errors import CheckpointError

GAUSSIAN_PRIOR = 2.0
"""Temperature to assume for Gaussian log-likelihoods: features of unseen images scatter more than the model says."""
COSINE_PRIOR = 1 / 16
"""Temperature to assume for cosines: the inverse of the scale cosine heads are trained with."""
LOGIT_PRIOR = 1.0
"""Temperature to assume for the logits of a trained linear head."""


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


@dataclass
class RunningTemperature:
    """The temperatures of all tasks so far as one: their mean logarithm, weighted by held-out images.

    Old tasks' held-out images may be gone, so each task contributes what it measured when it was learned.
    """

    log_sum: float = 0.0
    weight: float = 0.0

    @property
    def value(self) -> float:
        """The temperature to divide logits by."""
        return math.exp(self.log_sum / self.weight) if self.weight else 1.0

    def add(self, temperature: float, n: int) -> None:
        """Take in a temperature fitted on `n` images."""
        self.log_sum += n * math.log(temperature)
        self.weight += n


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

    def add(self, logits: Tensor, targets: Tensor, distances: Tensor) -> None:
        """Take in one task's held-out images.

        Args:
            logits: `(N, K)` over all classes learned so far.
            targets: int64 `(N,)`.
            distances: `(N,)`, non-negative, to the nearest class.
        """
        if len(targets) == 0:
            return
        self.temperature.add(fit_temperature(logits, targets, prior=self.prior), len(targets))
        self.familiarity.add(distances)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return calibrated probabilities `(B, K)`."""
        value = self.temperature.value if self.temperature.weight else self.prior
        return torch.softmax(logits / value, dim=-1)

    def state_dict(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors under prefixed keys."""
        temperature = [self.temperature.log_sum, self.temperature.weight]
        return {
            f"{prefix}temperature": torch.tensor(temperature, dtype=torch.float64),
            f"{prefix}familiarity": self.familiarity.moments.clone(),
        }

    def load_state_dict(self, state: Mapping[str, Tensor], prefix: str) -> None:
        """Take over what `state_dict` returned.

        Raises:
            CheckpointError: If a tensor is missing or has another shape.
        """
        temperature = state.get(f"{prefix}temperature")
        moments = state.get(f"{prefix}familiarity")
        if temperature is None or temperature.shape != (2,):
            raise CheckpointError(f"The calibration {prefix} has no temperature.")
        if moments is None or moments.ndim != 2 or moments.shape[1] != 3:
            raise CheckpointError(f"The calibration {prefix} has no familiarity scale.")
        self.temperature = RunningTemperature(*temperature.tolist())
        self.familiarity = FamiliarityScale(moments.clone())
