"""How new an image looks: how far from every class, measured against what nothing in particular looks like.

The distance is one minus the cosine to the nearest class mean, seen from the background's mean, in the space whitened
by the covariance within classes. Of few images that is mostly the background's, of many their own. How far known images
usually are is told by rows that are left out in turn (`models.evidence.folds`), over all classes and after every task.
Pictures of nothing (`models.nothing`), which lie nearer to each other than to any class, are always new.

Shapes: B images, K classes, W feature width.

Reference:
    Ren et al., 2021, https://arxiv.org/abs/2106.09022: distances relative to a background. Differs: cosines, which lead
    with few images a class.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.linear_form import LinearForm, inverse_of
from models.reference import Prior
from models.shown import Shown
from models.state import StateReader

SHRINKAGE = 0.6
"""Of the covariance that whitens; 0.3 costs half a point of AUROC."""
MOST_KNOTS = 64
"""Of the scale from distances to shares."""
USUAL = (0.75, 0.13)
"""Mean and deviation of distances of known images, where none can be left out: as measured with one image a class."""
NEARER_TO_NOTHING = 0.25
"""How much nearer to a picture of nothing than to every class an image is at least, to be one."""
RARELY = 0.01
"""Share of the rows left out that may be taken for pictures of nothing; the bound rises until no more are."""


class Distances:
    """Distances to each class and to the nearest picture of nothing."""

    def __init__(self, shown: Shown, prior: Prior) -> None:
        """Find the space.

        Args:
            shown: What is known.
            prior: Worth as many images as features have numbers, where there is a background.
        """
        width = len(prior.centre)
        freedom = shown.freedom + (width if prior.within is not None else 0)
        covariance = shown.scatter.float() / freedom if freedom else torch.eye(width)
        if prior.within is not None:
            covariance.add_(prior.within, alpha=width / freedom)
        sphere = float(covariance.diagonal().mean().clamp(min=1e-12))
        covariance.mul_(1 - SHRINKAGE).diagonal().add_(SHRINKAGE * sphere)
        # Solved for what is asked, which is as fast as a product; the inverse costs more than all rows left out do.
        self._root = torch.linalg.cholesky(covariance).T.contiguous()
        self._centre = prior.centre.float()
        self._means = self._directions(shown.means)
        self._empty = shown.counts == 0
        self._nothing = self._directions(prior.nothing)

    def cosines(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Look at features `(B, W)`.

        Returns:
            The cosine to each class, `(B, K)`, -1 for a class without images, and the largest to a picture of nothing,
            `(B,)`, -1 without any.
        """
        x = self._directions(features)
        to_nothing = x.new_full((len(x),), -1.0)
        if len(self._nothing):
            to_nothing = (x @ self._nothing.T).amax(dim=1)
        return (x @ self._means.T).masked_fill(self._empty, -1), to_nothing

    def linear_form(self) -> LinearForm:
        """Return the space with the directions of the classes and then of the pictures of nothing."""
        return LinearForm.through(inverse_of(self._root), torch.cat([self._means, self._nothing]))

    def measure(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Look at features `(B, W)`.

        Returns:
            One minus the cosine to the nearest class, `(B,)`, and by how much a picture of nothing is nearer than every
            class, `(B,)`.
        """
        return to_nearest(*self.cosines(features))

    def _directions(self, features: Tensor) -> Tensor:
        x = features.float().cpu() - self._centre
        return F.normalize(
            torch.linalg.solve_triangular(self._root, x, upper=True, left=False), dim=1
        )


def to_nearest(cosines: Tensor, to_nothing: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `Distances.measure` does, of what `Distances.cosines` returned."""
    nearest = cosines.amax(dim=1)
    return 1 - nearest, to_nothing - nearest


@dataclass(frozen=True)
class Scale:
    """How far known images usually are: from a distance to the share of them that lies nearer."""

    knots: Tensor
    """Distances of known images that nobody had learned from, ascending, float32 `(Q,)`."""
    shares: Tensor
    """Share that lies nearer than each, ascending and below 1, float32 `(Q,)`."""
    tail: Tensor
    """How much further the share beyond the last knot falls to a third, float32 `()`."""
    bound: Tensor
    """Lead of a picture of nothing from which an image counts as one, float32 `()`."""

    @classmethod
    def of(cls, distances: Tensor, beyond_nothing: Tensor, weights: Tensor) -> "Scale":
        """Measure known images that nobody had learned from.

        Args:
            distances: As `Distances.measure` returns them, `(M,)`.
            beyond_nothing: The same.
            weights: How much each image counts, adding up to 1, float64 `(M,)`.
        """
        n = len(distances)
        if not n:
            return cls._usual()
        values, order = distances.double().sort()
        # As one more row would do, so that the furthest of a few is not what nothing ever exceeds.
        shares = (weights[order].cumsum(0) - weights[order] / 2) * n / (n + 1)
        top = values[-max(1, len(values) // 5) :]
        tail = (top - top[0]).mean().clamp(min=0.02)
        chosen = torch.linspace(0, len(values) - 1, min(MOST_KNOTS, len(values))).round().long()
        allowed = beyond_nothing.double().quantile(1 - RARELY, interpolation="higher")
        bound = allowed.clamp(min=NEARER_TO_NOTHING).float()
        return cls(values[chosen].float(), shares[chosen].float(), tail.float(), bound)

    @classmethod
    def _usual(cls) -> "Scale":
        mean, deviation = USUAL
        shares = torch.linspace(0.05, 0.95, 19)
        knots = mean + deviation * torch.special.ndtri(shares)
        return cls(knots, shares, torch.tensor(deviation / 2), torch.tensor(NEARER_TO_NOTHING))

    def novelty(self, distances: Tensor, beyond_nothing: Tensor) -> Tensor:
        """Return the share of known images that look more familiar, `(B,)` in `[0, 1]`.

        Args:
            distances: To the nearest class, `(B,)`.
            beyond_nothing: As `Distances.measure` returns it, `(B,)`.
        """
        x = distances.float().contiguous()
        above = torch.searchsorted(self.knots, x).clamp(max=len(self.knots) - 1)
        below = (above - 1).clamp(min=0)
        start = self.knots[below]
        part = ((x - start) / (self.knots[above] - start).clamp(min=1e-9)).clamp(0, 1)
        share = torch.lerp(self.shares[below], self.shares[above], part)
        # Before the first knot and beyond the last one; between them these factors are 1.
        before = ((x - self.knots[0]) / self.tail).clamp(max=0).exp()
        beyond = ((self.knots[-1] - x) / self.tail).clamp(max=0).exp()
        share = 1 - (1 - share * before) * beyond
        return share.masked_fill(beyond_nothing > self.bound, 1.0)

    def state_dict(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors under prefixed keys."""
        return {f"{prefix}{name}": tensor for name, tensor in vars(self).items()}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], prefix: str) -> "Scale":
        """Rebuild from what `state_dict` returned.

        Raises:
            CheckpointError: If a tensor is missing or has the wrong shape.
        """
        reader = StateReader(state, prefix, what="the scale of novelty")
        knots = reader.tensor("knots", (None,))
        reader.require(len(knots) > 0, "knots")
        return cls(
            knots,
            reader.tensor("shares", (len(knots),)),
            reader.tensor("tail", ()),
            reader.tensor("bound", ()),
        )
