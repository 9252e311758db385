"""Own covariances with one image left out, in closed form.

Without an image the shared covariance loses one direction, and so does that of the image's class: both are that of its
gap to the class mean. So each class's covariance changes by a matrix of rank one, that of the image's class by one of
rank two, and lengths and determinants follow by the formulas of Woodbury and Sylvester. What stays as it is: in which
directions classes are described, and the sphere of the shrinkage.

Shapes: P pairs of an image that is asked about and one that is left out, K classes, W feature width, R directions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.own_covariances import OwnCovariances, ordered


@dataclass(frozen=True)
class Gone:
    """Images that are left out, in the whitened space."""

    gaps: Tensor
    """To the means of their classes, float32 `(P, W)`."""
    classes: Tensor
    """int64 `(P,)`."""
    counts: Tensor
    """Images of their classes, float32 `(P,)`."""
    shared: Tensor
    """How much of the square of each gap the shared covariance loses, `(P,)`."""


class OwnLeftOut:
    """The own covariances of all classes, each time without one image."""

    def __init__(self, covariances: OwnCovariances, *, prior: float) -> None:
        """Take them apart; `prior` is what they were built with."""
        parts = covariances.parts
        self._parts, self._prior = parts, prior
        K, R, self._width = parts.directions.shape
        self._directions = parts.directions.float().view(K * R, self._width)
        self._of_means = torch.einsum("krw,kw->kr", parts.directions.float(), parts.means)
        self._squares = parts.means.square().sum(dim=1)
        self._exists = parts.variances > 0
        self._outside, self._inside = self._spread(
            parts.share, parts.variances, parts.left, self._exists
        )
        self._constants = self._determinants(self._outside, self._inside)

    def logits(self, asked: Tensor, gone: Gone) -> Tensor:
        """Return log-likelihoods up to a constant of the pair, `(P, K)`.

        Args:
            asked: Images in the whitened space, seen from the centre, float32 `(P, W)`.
            gone: What is left out for each.
        """
        K, R = self._of_means.shape
        y = (asked @ self._directions.T).view(-1, K, R) - self._of_means
        r = (gone.gaps @ self._directions.T).view(-1, K, R)
        squares = (
            asked.square().sum(dim=1)[:, None] - 2 * asked @ self._parts.means.T + self._squares
        )
        across = (asked * gone.gaps).sum(dim=1)[:, None] - gone.gaps @ self._parts.means.T
        length = gone.gaps.square().sum(dim=1)[:, None]
        less = 1 / self._outside[:, None] - 1 / self._inside
        yy = squares / self._outside - torch.einsum("pkr,kr->pk", y.square(), less)
        yr = across / self._outside - torch.einsum("pkr,kr->pk", y * r, less)
        rr = length / self._outside - torch.einsum("pkr,kr->pk", r.square(), less)
        lost = gone.shared[:, None] * (1 - self._parts.share)
        stays = (1 - lost * rr).clamp(min=1e-4)
        logits = -0.5 * (yy + lost * yr.square() / stays + self._constants + stays.log())
        bent = gone.shared[:, None]
        shared = -0.5 * (squares + bent * across.square() / (1 - bent * length).clamp(min=1e-4))
        mine = torch.arange(len(asked)), gone.classes
        own, plain = self._of_its_class(y[mine], r[mine], squares[mine], across[mine], gone)
        logits[mine], shared[mine] = own, plain
        return ordered(logits, shared)

    def _of_its_class(
        self, y: Tensor, r: Tensor, squares: Tensor, across: Tensor, gone: Gone
    ) -> tuple[Tensor, Tensor]:
        """Return what the class of the image that is left out says, `(P,)`, and under the shared covariance alone.

        Args:
            y: How far the images asked about lie from the mean with all, along its directions, `(P, R)`.
            r: How far those left out do.
            squares: Of the lengths of the former, `(P,)`.
            across: Scalar products of both, `(P,)`.
            gone: What is left out.
        """
        parts, mine, n = self._parts, gone.classes, gone.counts
        rows = parts.n_rows[mine].float()
        back = 1 / (n - 1).clamp(min=1)
        length = gone.gaps.square().sum(dim=1)
        # The mean moves away from what is left out.
        y = y + r * back[:, None]
        squares = squares + 2 * back * across + back.square() * length
        across = across + back * length
        share = (n - 1) / (n - 1 + self._prior * self._width) * (rows > 2)
        more = (rows - 1) / (rows - 2).clamp(min=1)
        lost_own = rows / ((rows - 1) * (rows - 2)).clamp(min=1)
        variances = parts.variances[mine] * more[:, None]
        beside = (length - r.square().sum(dim=1)).clamp(min=0)
        left = (parts.left[mine] * more - lost_own * beside).clamp(min=0)
        outside, inside = self._spread(share, variances, left, self._exists[mine])
        less = 1 / outside[:, None] - 1 / inside
        yy = squares / outside - (less * y.square()).sum(dim=1)
        yr = across / outside - (less * y * r).sum(dim=1)
        rr = length / outside - (less * r.square()).sum(dim=1)
        yv, vv = (y * r / inside).sum(dim=1), (r.square() / inside).sum(dim=1)
        # Both lose what is left out: the shared covariance all of its gap, the own one what its directions see of it.
        shared, own = gone.shared * (1 - share), lost_own * share
        a, b, c, d = 1 - shared * rr, -shared * vv, -own * vv, 1 - own * vv
        determinant = (a * d - b * c).clamp(min=1e-4)
        from_gap = (d * shared * yr - b * own * yv) / determinant
        from_own = (a * own * yv - c * shared * yr) / determinant
        quadratic = yy + yr * from_gap + yv * from_own
        constants = self._determinants(outside, inside)
        bent = gone.shared
        plain = squares + bent * across.square() / (1 - bent * length).clamp(min=1e-4)
        return -0.5 * (quadratic + constants + determinant.log()), -0.5 * plain

    def _spread(
        self, share: Tensor, variances: Tensor, left: Tensor, exists: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return variances in every other direction, `(N,)`, and along each of a class, `(N, R)`."""
        R = variances.shape[1]
        outside = 1 - share + share * left / max(1, self._width - R)
        inside = 1 - share[:, None] + share[:, None] * variances
        return outside, torch.where(exists, inside, outside[:, None])

    def _determinants(self, outside: Tensor, inside: Tensor) -> Tensor:
        R = inside.shape[1]
        return (self._width - R) * outside.log() + inside.log().sum(dim=1)
