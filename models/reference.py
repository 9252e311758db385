"""What a learner keeps of its backbone's background: where features usually lie before it has seen an image.

It is stored with the learner, so that its answers do not depend on a file, and follows the features where these move.

Shapes: W feature width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.background import Background
from models.state import StateReader
from models.statistics import Drift

MOST_WITHIN = 48
"""Directions of the covariance within classes: with 16 or with all of them AUROC of novelty is within half a point."""
MOST_BETWEEN = 96
"""Directions of the covariance between classes: with 32 answers lose points, with all of them they gain none."""


@dataclass(frozen=True)
class Reference:
    """What is kept of a background. Shapes: R directions within classes, Q between them, P pictures of nothing."""

    mean: Tensor
    """Of general images, float32 `(W,)`; zeros where no background is known."""
    directions: Tensor
    """In which images of one class scatter most, as long as their standard deviation, float16 `(R, W)`."""
    rest: Tensor
    """Variance in every other direction, float32 `()`."""
    between: Tensor
    """In which means of classes scatter most, of unit length where they were measured, float16 `(Q, W)`."""
    deviations: Tensor
    """Standard deviation of class means along each of these, float32 `(Q,)`."""
    nothing: Tensor
    """Features of pictures of nothing, float16 `(P, W)`."""

    @classmethod
    def of(cls, background: Background | None, nothing: Tensor) -> "Reference":
        """Return the reference of a backbone, with the features of pictures of nothing, `(P, W)`."""
        width = nothing.shape[1]
        if background is None:
            return replace(cls.none(width), nothing=nothing.half().cpu())
        background = background.for_width(width)
        directions, rest = _largest(background.within, MOST_WITHIN)
        between, _ = _largest(background.covariance - background.within, MOST_BETWEEN)
        deviations = between.float().norm(dim=1)
        units = (between.float() / deviations.clamp(min=1e-12)[:, None]).half()
        mean = background.mean.float()
        return cls(mean, directions, rest, units, deviations, nothing.half().cpu())

    @classmethod
    def none(cls, width: int) -> "Reference":
        """Return what there is where no background is known."""
        no_rows = torch.zeros(0, width, dtype=torch.float16)
        zero = torch.tensor(0.0)
        return cls(torch.zeros(width), no_rows, zero, no_rows, torch.zeros(0), no_rows)

    def carried(self, drift: Drift | None) -> "Reference":
        """Return it where features are after a move."""
        if drift is None:
            return self
        return Reference(
            drift.apply(self.mean.double()[None])[0].float()
            if bool(self.mean.any())
            else self.mean,
            _turned(self.directions, drift),
            self.rest,
            _turned(self.between, drift),
            self.deviations,
            drift.apply(self.nothing.double()).half(),
        )

    def state_dict(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors under prefixed keys; how classes differ only where that is known."""
        known = vars(self)
        if not len(self.between):
            known = {k: v for k, v in known.items() if k not in ("between", "deviations")}
        return {f"{prefix}{name}": tensor for name, tensor in known.items()}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], prefix: str, width: int) -> "Reference":
        """Rebuild from what `state_dict` returned, or what it did before it kept how classes differ.

        Raises:
            CheckpointError: If a tensor is missing or has the wrong shape.
        """
        reader = StateReader(state, prefix, what="what is kept of a background")
        between, deviations = torch.zeros(0, width, dtype=torch.float16), torch.zeros(0)
        if f"{prefix}between" in state or f"{prefix}deviations" in state:
            between = reader.tensor("between", (None, width), torch.float16)
            deviations = reader.tensor("deviations", (len(between),))
        return cls(
            reader.tensor("mean", (width,)),
            reader.tensor("directions", (None, width), torch.float16),
            reader.tensor("rest", ()),
            between,
            deviations,
            reader.tensor("nothing", (None, width), torch.float16),
        )


class Prior:
    """A reference as what heads compute with, on the CPU."""

    def __init__(self, reference: Reference) -> None:
        """Unfold what is stored."""
        self.centre = reference.mean.double()
        """What nothing in particular looks like, float64 `(W,)`; zeros where that is not known."""
        self.within: Tensor | None = None
        """Covariance within classes, float32 `(W, W)`. None without a background."""
        if len(reference.directions):
            directions = reference.directions.float()
            self.within = directions.T @ directions
            self.within.diagonal().add_(reference.rest)
        self.nothing = reference.nothing
        """Features of pictures of nothing, float16 `(P, W)`."""
        self._between = reference.between.float() * reference.deviations[:, None]
        self._discriminants: dict[float, tuple[Tensor, Tensor]] = {}

    @classmethod
    def none(cls, width: int) -> "Prior":
        """Return what there is to go by where no background is known."""
        return cls(Reference.none(width))

    @property
    def offers_means(self) -> bool:
        """Whether it says how means of classes scatter."""
        return self.within is not None and len(self._between) > 0

    def discriminants(self, shrinkage: float) -> tuple[Tensor, Tensor]:
        """Find the directions that tell classes in general apart.

        Args:
            shrinkage: Share of the covariance within classes that is replaced by a sphere of the same trace.

        Returns:
            A map to Q numbers with unit variance within classes, float32 `(W, Q)`, and their variances between
            classes, float32 `(Q,)`.

        Reference:
            Ioffe, 2006, https://doi.org/10.1007/11744085_41.
        """
        if shrinkage not in self._discriminants:
            assert self.within is not None
            shrunk = (1 - shrinkage) * self.within
            shrunk.diagonal().add_(shrinkage * self.within.diagonal().mean())
            whitened = torch.cholesky_solve(self._between.T, torch.linalg.cholesky(shrunk))
            values, axes = torch.linalg.eigh(self._between @ whitened)
            values = values.clamp(min=max(1e-12, 1e-6 * float(values.max())))
            self._discriminants[shrinkage] = (whitened @ (axes * values.rsqrt()), values)
        return self._discriminants[shrinkage]


def _largest(covariance: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Return the largest directions of a covariance `(W, W)`, float16 `(R, W)`, and the mean variance of the others."""
    values, axes = torch.linalg.eigh(covariance.float())
    n = min(most, len(values))
    directions = axes[:, -n:] * values[-n:].clamp(min=0).sqrt()
    rest = values[: len(values) - n].sum() / max(1, len(values) - n)
    return directions.T.half(), rest.float()


def _turned(directions: Tensor, drift: Drift) -> Tensor:
    directions = directions.double()
    return (directions + directions @ drift.linear).half()
