"""Each class's own covariance, in low rank: n images scatter in at most n - 1 directions.

Shapes: B images, K classes, W feature width, R directions a class.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.shown import Shown

MOST_DIRECTIONS = 32
"""Of a class that are kept, those in which it scatters most; the others share what is left evenly."""
FEWEST_DIRECTIONS = 12
"""That are kept if there are so many classes that memory would not hold more."""
DIRECTIONS_OF_ALL = 12_000
"""Of all classes together, where that is more than `FEWEST_DIRECTIONS` of each."""
PAY_FROM = 8.0
"""Images a class, in the median, from which own covariances are tried at all. Rows left out leave fewer: with ten of a
class, eight. With 15, digits lost five points at 20 images on ViT-Tiny; with 4, all is as with 8."""
MOST_LIKELY = 16
"""Classes among which own covariances decide; the others keep their order by the shared one."""
_PRODUCT = 16
"""How much cheaper a number is in a product of matrices than gathered, about."""
_MOST_NUMBERS = 4_000_000
"""That are gathered at once, of directions of the most likely classes of some images."""


@dataclass(frozen=True)
class OwnParts:
    """What own covariances are made of, as `models.own_left_out` takes one image out of them."""

    means: Tensor
    """Of the classes in the whitened space, float32 `(K, W)`."""
    directions: Tensor
    """float16 `(K, R, W)`."""
    variances: Tensor
    """Along each, of the class alone, `(K, R)`; 0 where it has fewer."""
    left: Tensor
    """What the class varies in all other directions together, `(K,)`."""
    share: Tensor
    """How much of its covariance is its own, `(K,)`."""
    n_rows: Tensor
    """int64 `(K,)`."""


class OwnCovariances:
    """One Gaussian a class: its covariance lies between its own and the shared one.

    In the space whitened by the shared covariance a class's is `(1 - h) I + h S`, S its own of n images and
    `h = n / (n + prior W)`: the posterior mean of an inverse Wishart whose prior is worth `prior W` images. S is kept
    as R directions and their variances, and evenly as the rest.

    Reference:
        Friedman, 1989, https://doi.org/10.1080/01621459.1989.10478752.
    """

    def __init__(
        self,
        shown: Shown,
        centre: Tensor,
        whiten: Callable[[Tensor], Tensor],
        *,
        prior: float,
        gaps: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Find each class's directions.

        Args:
            shown: Rows of all classes.
            centre: What features are seen from, float32 `(W,)`.
            whiten: From features less the centre, `(N, W)`, to the whitened space.
            prior: See above.
            gaps: Returns some rows less the means of their classes, in the whitened space, by which they are, bool
                `(M,)`. Asked instead of `whiten` where others have looked at them already.
        """
        K, W = shown.means.shape
        self._means = whiten(shown.means.float() - centre)
        n_rows = torch.bincount(shown.targets, minlength=K)
        most = int(n_rows.max())
        rank = min(most_directions(K), W, max(1, most - 1))
        self._directions = torch.zeros(K, rank, W, dtype=torch.float16)
        self._of_means = torch.zeros(K, rank)
        variances, left = torch.zeros(K, rank), torch.zeros(K)
        for part in torch.arange(K).split(max(1, _MOST_NUMBERS // (most * W))):
            mine = torch.isin(shown.targets, part)
            rows = torch.zeros(len(part), most, W)
            rows[shown.targets[mine] - part[0], shown.place[mine]] = (
                whiten(gaps_of(shown, mine)) if gaps is None else gaps(mine)
            )
            rows /= (n_rows[part] - 1).clamp(min=1).sqrt()[:, None, None]
            variances[part], self._directions[part], left[part] = _largest(rows, rank)
            directions = self._directions[part].float()
            self._of_means[part] = torch.einsum("krw,kw->kr", directions, self._means[part])
        share = (shown.counts / (shown.counts + prior * W)).float()[:, None] * (n_rows > 1)[:, None]
        self.parts = OwnParts(self._means, self._directions, variances, left, share[:, 0], n_rows)
        outside = 1 - share + share * left[:, None] / max(1, W - rank)
        # A direction that a class does not have is one of the others.
        inside = torch.where(variances > 0, 1 - share + share * variances, outside)
        self._outside = (1 / outside)[:, 0]
        self._less = 1 / outside - 1 / inside
        self._constants = (W - rank) * outside[:, 0].log() + inside.log().sum(dim=1)

    @staticmethod
    def pay(shown: Shown) -> bool:
        """Tell whether there are images enough to try."""
        counts = shown.counts[shown.counts > 0]
        return len(counts) > 1 and float(counts.median()) >= PAY_FROM

    def logits(self, whitened: Tensor, shared: Tensor) -> Tensor:
        """Return log-likelihoods up to a constant of the image.

        Args:
            whitened: Features less the centre, in the whitened space, `(B, W)`.
            shared: Their log-likelihoods under the shared covariance alone, `(B, K)`.
        """
        K, R, W = self._directions.shape
        n_likely = min(MOST_LIKELY, K)
        likely = shared.topk(n_likely, dim=1).indices
        if K * (_PRODUCT + len(shared)) <= 2 * _PRODUCT * n_likely * len(shared):
            along = self._along_all(whitened).gather(1, likely[:, :, None].expand(-1, -1, R))
        else:
            at_once = max(1, _MOST_NUMBERS // (n_likely * R * W))
            along = torch.cat(
                [
                    self._along(whitened[rows], likely[rows])
                    for rows in _slices(len(whitened), at_once)
                ]
            )
        return _ordered(self._scores(along, shared.gather(1, likely), likely), shared, likely)

    def logits_along(self, along: Tensor, shared: Tensor) -> Tensor:
        """Return what `logits` does for images that lie so far along all directions of all classes, `(B, K, R)`."""
        return ordered(self._scores(along, shared, slice(None)), shared)

    def linear_form(self, to_space: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far images lie along all directions as a product: `(W, K R)`, and what is added, `(K R,)`.

        Args:
            to_space: From features less the centre to the whitened space, `(W, W)`.
        """
        return to_space @ self._directions.float().flatten(0, 1).T, -self._of_means.flatten()

    @property
    def n_directions(self) -> int:
        """R."""
        return self._directions.shape[1]

    def _along_all(self, whitened: Tensor) -> Tensor:
        """Return how far images lie from each class along each of its directions, `(B, K, R)`, by one product."""
        K, R, W = self._directions.shape
        along = whitened @ self._directions.float().view(K * R, W).T
        return along.view(-1, K, R) - self._of_means

    def _along(self, whitened: Tensor, classes: Tensor) -> Tensor:
        """Return the same of some classes, int64 `(B, C)`: `(B, C, R)`."""
        gaps = whitened[:, None] - self._means[classes]
        return torch.einsum("bcrw,bcw->bcr", self._directions[classes].float(), gaps)

    def _scores(self, along: Tensor, shared: Tensor, classes: Tensor | slice) -> Tensor:
        distances = -2 * shared * self._outside[classes]
        distances = distances - (along.square() * self._less[classes]).sum(dim=2)
        return -0.5 * (distances + self._constants[classes])


def gaps_of(shown: Shown, mine: Tensor) -> Tensor:
    """Return how far some rows, bool `(M,)`, are from the means of their classes, float32 `(N, W)`."""
    return (shown.rows[mine] - shown.means[shown.targets[mine]]).float()


def ordered(own: Tensor, shared: Tensor) -> Tensor:
    """Return log-likelihoods of all classes, `(B, K)`, where own covariances decide among the most likely alone."""
    if own.shape[1] <= MOST_LIKELY:
        return own
    likely = shared.topk(MOST_LIKELY, dim=1).indices
    return _ordered(own.gather(1, likely), shared, likely)


def _ordered(own: Tensor, shared: Tensor, likely: Tensor) -> Tensor:
    """Return log-likelihoods of all classes, `(B, K)`, of those of the most likely, `(B, C)`; see `logits`."""
    if likely.shape[1] == shared.shape[1]:
        return torch.empty_like(shared).scatter(1, likely, own)
    # Behind the most likely, by as much as the shared covariance puts them behind.
    lowest = own.amin(dim=1, keepdim=True)
    behind = shared - shared.gather(1, likely[:, -1:])
    return (lowest + behind).scatter(1, likely, own)


def _slices(n: int, size: int) -> list[slice]:
    """Cut n rows into parts. A single one is all there is, whatever n: so a graph of it serves any number of rows."""
    if n <= size:
        return [slice(None)]
    return [slice(start, start + size) for start in range(0, n, size)]


def most_directions(n_classes: int) -> int:
    """Return how many directions are kept of each of so many classes.

    Example:
        >>> most_directions(20), most_directions(500), most_directions(5000)
        (32, 24, 12)
    """
    return min(MOST_DIRECTIONS, max(FEWEST_DIRECTIONS, DIRECTIONS_OF_ALL // n_classes))


def _largest(rows: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the largest variances of each class, their directions, and the variance of all others together.

    Args:
        rows: Such that `rows' rows` is each class's covariance, `(C, N, W)`; the last ones may be zero.
        rank: R.

    Returns:
        `(C, R)`, 0 where a class has fewer; `(C, R, W)`, 0 there; and `(C,)`.
    """
    values, vectors = torch.linalg.eigh(rows @ rows.mT)
    values, vectors = values[:, -rank:], vectors[:, :, -rank:]
    exists = values > values[:, -1:].clamp(min=1e-9) * 1e-5
    values = values.where(exists, 0)
    scaled = vectors / values.where(exists, 1).sqrt()[:, None]
    directions = (scaled.mT @ rows) * exists[:, :, None]
    short = rank - values.shape[1]
    if short > 0:
        values = F.pad(values, (short, 0))
        directions = F.pad(directions, (0, 0, short, 0))
    rest = (rows.square().sum(dim=(1, 2)) - values.sum(dim=1)).clamp(min=0)
    return values, directions.half(), rest
