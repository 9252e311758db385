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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.background import Background
from models.evidence import Fold, balance
from models.shown import Shown
from models.state import StateReader
from models.statistics import Drift

SHRINKAGE = 0.6
"""Of the covariance that whitens; 0.3 costs half a point of AUROC."""
MOST_DIRECTIONS = 48
"""Of the background's covariance that are kept: with 16 or with all of them AUROC is within half a point."""
MOST_KNOTS = 64
"""Of the scale from distances to shares."""
USUAL = (0.75, 0.13)
"""Mean and deviation of distances of known images, where none can be left out: as measured with one image a class."""
NEARER_TO_NOTHING = 0.25
"""How much nearer to a picture of nothing than to every class an image is at least, to be one."""
RARELY = 0.01
"""Share of the rows left out that may be taken for pictures of nothing; the bound rises until no more are."""


@dataclass(frozen=True)
class Reference:
    """What novelty is measured against. Shapes: R directions, P pictures of nothing."""

    mean: Tensor
    """Of general images, float32 `(W,)`; zeros where no background is known."""
    directions: Tensor
    """In which images of one class scatter most, as long as their standard deviation, float16 `(R, W)`."""
    rest: Tensor
    """Variance in every other direction, float32 `()`."""
    nothing: Tensor
    """Features of pictures of nothing, float16 `(P, W)`."""

    def covariance(self) -> Tensor:
        """Return the covariance within classes, float64 `(W, W)`."""
        directions = self.directions.double()
        return directions.T @ directions + self.rest.double() * torch.eye(
            directions.shape[1], dtype=torch.float64
        )

    @classmethod
    def of(cls, background: Background | None, nothing: Tensor) -> "Reference":
        """Return the reference of a backbone, with the features of pictures of nothing, `(P, W)`."""
        width = nothing.shape[1]
        if background is None:
            none = torch.zeros(0, width, dtype=torch.float16)
            return cls(torch.zeros(width), none, torch.tensor(0.0), nothing.half().cpu())
        background = background.for_width(width)
        values, axes = torch.linalg.eigh(background.within)
        n_directions = min(MOST_DIRECTIONS, width)
        directions = axes[:, -n_directions:] * values[-n_directions:].clamp(min=0).sqrt()
        rest = values[: width - n_directions].sum() / max(1, width - n_directions)
        return cls(background.mean.float(), directions.T.half(), rest.float(), nothing.half().cpu())

    def carried(self, drift: Drift | None) -> "Reference":
        """Return it where features are after a move."""
        if drift is None:
            return self
        directions = self.directions.double()
        return Reference(
            drift.apply(self.mean.double()[None])[0].float()
            if bool(self.mean.any())
            else self.mean,
            (directions + directions @ drift.linear).half(),
            self.rest,
            drift.apply(self.nothing.double()).half(),
        )

    def state_dict(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors under prefixed keys."""
        return {f"{prefix}{name}": tensor for name, tensor in vars(self).items()}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], prefix: str, width: int) -> "Reference":
        """Rebuild from what `state_dict` returned.

        Raises:
            CheckpointError: If a tensor is missing or has the wrong shape.
        """
        reader = StateReader(state, prefix, what="what novelty is measured against")
        return cls(
            reader.tensor("mean", (width,)),
            reader.tensor("directions", (None, width), torch.float16),
            reader.tensor("rest", ()),
            reader.tensor("nothing", (None, width), torch.float16),
        )


class Distances:
    """Distances to the nearest class and to the nearest picture of nothing."""

    def __init__(self, shown: Shown, reference: Reference) -> None:
        width = len(reference.mean)
        worth = float(width) if float(reference.rest) > 0 else 0.0
        freedom = worth + shown.freedom
        covariance = torch.eye(width, dtype=torch.float64)
        if freedom > 0:
            covariance = (worth * reference.covariance() + shown.scatter) / freedom
        values, axes = torch.linalg.eigh(covariance)
        values = (1 - SHRINKAGE) * values + SHRINKAGE * values.mean()
        centre = reference.mean.double()
        whiten = axes * values.clamp(min=1e-12).rsqrt()
        self._centre, self._whiten = centre.float(), whiten.float()
        self._means = self._directions(shown.means[shown.counts > 0])
        self._nothing = self._directions(reference.nothing)

    def measure(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Look at features `(B, W)`.

        Returns:
            One minus the cosine to the nearest class, `(B,)`, and by how much a picture of nothing is nearer than every
            class, `(B,)`.
        """
        x = self._directions(features)
        nearest = (x @ self._means.T).amax(dim=1)
        return 1 - nearest, (x @ self._nothing.T).amax(dim=1) - nearest

    def _directions(self, features: Tensor) -> Tensor:
        return F.normalize((features.float().cpu() - self._centre) @ self._whiten, dim=1)


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
    def of(cls, shown: Shown, reference: Reference, left_out: Sequence[Fold]) -> "Scale":
        """Measure rows that are left out in turn."""
        if not left_out:
            return cls._usual()
        measured = [
            Distances(fold.rest, reference).measure(shown.rows[fold.rows]) for fold in left_out
        ]
        near, lead = zip(*measured, strict=True)
        rows = torch.cat([fold.rows for fold in left_out])
        weights = balance(shown.targets[rows])
        values, order = torch.cat(near).double().sort()
        # As one more row would do, so that the furthest of a few is not what nothing ever exceeds.
        shares = (weights[order].cumsum(0) - weights[order] / 2) * len(rows) / (len(rows) + 1)
        top = values[-max(1, len(values) // 5) :]
        tail = (top - top[0]).mean().clamp(min=0.02)
        chosen = torch.linspace(0, len(values) - 1, min(MOST_KNOTS, len(values))).round().long()
        allowed = torch.cat(lead).double().quantile(1 - RARELY, interpolation="higher")
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
        gap = (self.knots[above] - self.knots[below]).clamp(min=1e-9)
        part = ((x - self.knots[below]) / gap).clamp(0, 1)
        share = torch.lerp(self.shares[below], self.shares[above], part)
        before = (self.knots[0] - x).clamp(min=0) / self.tail
        beyond = (x - self.knots[-1]).clamp(min=0) / self.tail
        share = torch.where(before > 0, self.shares[0] * (-before).exp(), share)
        share = torch.where(beyond > 0, 1 - (1 - self.shares[-1]) * (-beyond).exp(), share)
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
