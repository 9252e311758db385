"""Each class's own covariance, in low rank: n images scatter in at most n - 1 directions.

Shapes: B images, K classes, W feature width, R directions a class.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from models.shown import Shown

MOST_DIRECTIONS = 32
"""Of a class that are kept, those in which it scatters most; the others share what is left evenly."""
PAY_FROM = 15.0
"""Images a class, in the median, from which own covariances are tried at all. Below they never won a cell."""
MOST_LIKELY = 16
"""Classes among which own covariances decide; the others keep their order by the shared one."""
_MOST_NUMBERS = 4_000_000
"""That are gathered at once, of directions of the most likely classes of some images."""


class OwnCovariances:
    """One Gaussian a class: its covariance lies between its own and the shared one.

    In the space whitened by the shared covariance a class's is `(1 - h) I + h S`, S its own of n images and
    `h = n / (n + prior W)`: the posterior mean of an inverse Wishart whose prior is worth `prior W` images. S is kept
    as R directions and their variances, and evenly as the rest.

    Reference:
        Friedman, 1989, https://doi.org/10.1080/01621459.1989.10478752.
    """

    def __init__(
        self, shown: Shown, means: Tensor, centre: Tensor, whiten: Tensor, *, prior: float
    ) -> None:
        """Find each class's directions.

        Args:
            shown: Rows of all classes.
            means: Of all classes in the whitened space, `(K, W)`.
            centre: Of the whitened space, `(W,)`.
            whiten: From features to the whitened space, `(W, W)`.
            prior: See above.
        """
        K, W = means.shape
        self._means = means.float()
        n_rows = torch.bincount(shown.targets, minlength=K)
        most = int(n_rows.max())
        rank = min(MOST_DIRECTIONS, W, max(1, most - 1))
        self._directions = torch.zeros(K, rank, W, dtype=torch.float16)
        variances, left = torch.zeros(K, rank), torch.zeros(K)
        transform, offsets = whiten.float(), (means + centre @ whiten).float()
        for part in torch.arange(K).split(max(1, _MOST_NUMBERS // (most * W))):
            mine = torch.isin(shown.targets, part)
            scattered = shown.rows[mine].float() @ transform - offsets[shown.targets[mine]]
            rows = torch.zeros(len(part), most, W)
            rows[shown.targets[mine] - part[0], shown.place[mine]] = scattered
            rows /= (n_rows[part] - 1).clamp(min=1).sqrt()[:, None, None]
            variances[part], self._directions[part], left[part] = _largest(rows, rank)
        share = (shown.counts / (shown.counts + prior * W)).float()[:, None] * (n_rows > 1)[:, None]
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

    def logits(self, whitened: Tensor) -> Tensor:
        """Return log-likelihoods up to a constant of the image, `(B, K)`, of whitened features `(B, W)`."""
        shared = -0.5 * torch.cdist(whitened, self._means).square()
        K, R, W = self._directions.shape
        if K <= MOST_LIKELY:
            return self._own(whitened, shared, torch.arange(K).expand(len(whitened), K))
        likely = shared.topk(MOST_LIKELY, dim=1).indices
        at_once = max(1, _MOST_NUMBERS // (MOST_LIKELY * R * W))
        own = torch.cat(
            [
                self._own(x, s, top)
                for x, s, top in zip(
                    whitened.split(at_once),
                    shared.split(at_once),
                    likely.split(at_once),
                    strict=True,
                )
            ]
        )
        # Behind the most likely, by as much as the shared covariance puts them behind.
        lowest = own.amin(dim=1, keepdim=True)
        behind = shared - shared.gather(1, likely[:, -1:])
        return (lowest + behind).scatter(1, likely, own)

    def _own(self, whitened: Tensor, shared: Tensor, classes: Tensor) -> Tensor:
        gaps = whitened[:, None] - self._means[classes]
        along = torch.einsum("bcrw,bcw->bcr", self._directions[classes].float(), gaps)
        distances = -2 * shared.gather(1, classes) * self._outside[classes]
        distances = distances - (along.square() * self._less[classes]).sum(dim=2)
        return -0.5 * (distances + self._constants[classes])


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
