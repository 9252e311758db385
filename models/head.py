"""Classifiers that read features: a Gaussian one in closed form, and cosine prototypes."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.statistics import ClassStatistics


class GaussianHead:
    """Linear discriminant analysis: one Gaussian a class, all with the same shrunk covariance.

    Built from statistics in one eigendecomposition; nothing is trained. Shapes: B images, K classes, D feature width.
    """

    def __init__(self, statistics: ClassStatistics, *, shrinkage: float) -> None:
        """Whiten by the pooled covariance.

        Args:
            statistics: Counts, means, scatter. A class without images is never answered.
            shrinkage: Share of the covariance that is replaced by a sphere of the same trace, in `[0, 1]`. Without
                it few images in many dimensions give a covariance that cannot be inverted.
        """
        covariance = statistics.covariance
        D = len(covariance)
        sphere = covariance.diagonal().mean().clamp(min=1e-8) * torch.eye(D, dtype=torch.float64)
        values, vectors = torch.linalg.eigh((1 - shrinkage) * covariance + shrinkage * sphere)
        self._whiten = (vectors / values.clamp(min=1e-12).sqrt()).float()
        self._centre = (
            statistics.means.mean(dim=0).float() if len(statistics.means) else torch.zeros(D)
        )
        self._means = (statistics.means.float() - self._centre) @ self._whiten
        self._empty = statistics.counts == 0

    def squared_distances(self, features: Tensor) -> Tensor:
        """Return squared Mahalanobis distances to the class means, `(B, K)`, for features `(B, D)`."""
        whitened = (features.float().cpu() - self._centre) @ self._whiten
        distances = (
            whitened.square().sum(dim=1, keepdim=True)
            - 2 * whitened @ self._means.T
            + self._means.square().sum(dim=1)
        ).clamp(min=0)
        masked: Tensor = distances.masked_fill(self._empty, float("inf"))
        return masked

    def logits(self, features: Tensor) -> Tensor:
        """Return log-likelihoods up to a constant of the image, `(B, K)`."""
        return -0.5 * self.squared_distances(features)


def cross_validated_distances(
    known: ClassStatistics, features: Tensor, targets: Tensor, *, shrinkage: float, folds: int = 5
) -> tuple[Tensor, Tensor]:
    """Measure images against statistics that never saw them, so that the head's optimism on its own data shows.

    Each fold's images are scored by a head built from `known` and the other folds. An image whose class the others
    lack is left out.

    Args:
        known: Statistics of everything but these images.
        features: `(N, D)`.
        targets: int64 `(N,)`.
        shrinkage: As in `GaussianHead`.
        folds: Number of parts; each class is dealt out over them in turn.

    Returns:
        Squared distances `(M, K)` and their targets `(M,)`, M <= N.
    """
    n_classes = max(len(known.counts), int(targets.max()) + 1)
    fold = torch.empty_like(targets)
    for k in targets.unique():
        rows = (targets == k).nonzero().squeeze(1)
        fold[rows] = torch.arange(len(rows)) % folds
    distances, kept = [torch.empty(0, n_classes)], [targets[:0]]
    for f in range(folds):
        rest = known.copy()
        rest.add(features[fold != f], targets[fold != f], n_classes)
        mine = ((fold == f) & (rest.counts[targets] > 0)).nonzero().squeeze(1)
        if len(mine):
            head = GaussianHead(rest, shrinkage=shrinkage)
            distances.append(head.squared_distances(features[mine]))
            kept.append(targets[mine])
    return torch.cat(distances), torch.cat(kept)


class CosineHead(nn.Module):
    """Cosine to a learned vector a class, times a learned scale: the throw-away head sub-networks are trained with."""

    def __init__(self, width: int, n_classes: int, *, scale: float = 16.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_classes, width))
        self.scale = nn.Parameter(torch.tensor(scale))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, features: Tensor) -> Tensor:
        """Map features `(B, D)` to logits `(B, K)`."""
        return self.scale * cosine_scores(features, self.weight)


def cosine_scores(features: Tensor, prototypes: Tensor) -> Tensor:
    """Return the cosine of each feature `(B, D)` with each prototype `(K, D)`, as `(B, K)`.

    Example:
        >>> cosine_scores(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
        tensor([[1., 0.]])
    """
    return F.normalize(features, dim=-1) @ F.normalize(prototypes, dim=-1).T
