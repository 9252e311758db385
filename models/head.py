"""Classifiers that read features: a Gaussian one in closed form, and cosine prototypes."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.statistics import ClassGaussians, ClassStatistics


class GaussianHead:
    """Regularised discriminant analysis: one Gaussian a class, its covariance between its own and the shared one.

    Built from statistics in closed form; nothing is trained. With nothing but the pooled scatter to go by it is linear
    discriminant analysis. Shapes: B images, K classes, D feature width.

    Reference:
        Friedman, 1989, https://doi.org/10.1080/01621459.1989.10478752. Differs: the share of a class's own covariance
        follows from the number of its images, as the posterior mean of an inverse Wishart would have it.
    """

    def __init__(
        self, statistics: ClassStatistics, *, shrinkage: float, prior: float | None = None
    ) -> None:
        """Whiten by the pooled covariance, then by what each class's own has to add.

        Args:
            statistics: Counts, means, scatter. A class without images is never answered.
            shrinkage: Share of the pooled covariance that is replaced by a sphere of the same trace, in `[0, 1]`.
                Without it few images in many dimensions give a covariance that cannot be inverted.
            prior: How many images the pooled covariance is worth to a class that has its own, as a multiple of D:
                with n images its own one gets the share `n / (n + prior D)`. Takes effect where the statistics are
                `ClassGaussians`; None gives all classes the pooled one.
        """
        covariance = statistics.covariance
        D = len(covariance)
        sphere = covariance.diagonal().mean().clamp(min=1e-8) * torch.eye(D, dtype=torch.float64)
        values, vectors = torch.linalg.eigh((1 - shrinkage) * covariance + shrinkage * sphere)
        whiten = vectors / values.clamp(min=1e-12).sqrt()
        centre = (
            statistics.means.mean(dim=0)
            if len(statistics.means)
            else torch.zeros(D, dtype=torch.float64)
        )
        means = (statistics.means - centre) @ whiten
        self._whiten, self._centre = whiten.float(), centre.float()
        self._empty = statistics.counts == 0
        self._factors: Tensor | None = None
        """What whitens each class further, float32 `(K, D, D)`."""
        self._constants = torch.zeros(len(means))
        """Log-determinant of each class's covariance relative to the pooled one, `(K,)`."""
        if prior is not None and isinstance(statistics, ClassGaussians):
            self._factors = torch.empty(len(means), D, D)
            for k, n in enumerate(statistics.counts.tolist()):
                own = whiten.T @ statistics.scatters[k] @ whiten / max(1.0, n - 1)
                share = n / (n + prior * D)
                mixed = torch.lerp(torch.eye(D, dtype=torch.float64), own, share)
                root = torch.linalg.cholesky(mixed)
                inverse = torch.linalg.solve_triangular(
                    root, torch.eye(D, dtype=torch.float64), upper=False
                )
                self._factors[k] = inverse.T.float()
                self._constants[k] = 2 * root.diagonal().log().sum()
                means[k] = means[k] @ inverse.T
        self._means = means.float()

    def squared_distances(self, features: Tensor) -> Tensor:
        """Return squared Mahalanobis distances to the class means, `(B, K)`, for features `(B, D)`."""
        whitened = (features.float().cpu() - self._centre) @ self._whiten
        if self._factors is None:
            distances = (
                whitened.square().sum(dim=1, keepdim=True)
                - 2 * whitened @ self._means.T
                + self._means.square().sum(dim=1)
            ).clamp(min=0)
        else:
            distances = torch.stack(
                [
                    (whitened @ factor - mean).square().sum(dim=1)
                    for factor, mean in zip(self._factors, self._means, strict=True)
                ],
                dim=1,
            )
        masked: Tensor = distances.masked_fill(self._empty, float("inf"))
        return masked

    def logits_at(self, squared_distances: Tensor) -> Tensor:
        """Return log-likelihoods up to a constant of the image, `(B, K)`, at these distances."""
        return -0.5 * (squared_distances + self._constants)

    def logits(self, features: Tensor) -> Tensor:
        """Return log-likelihoods up to a constant of the image, `(B, K)`, for features `(B, D)`."""
        return self.logits_at(self.squared_distances(features))


@dataclass(frozen=True)
class CrossValidated:
    """How images look to a head that never saw them. Shapes: M images, K classes."""

    logits: Tensor
    """`(M, K)`."""
    squared_distances: Tensor
    """`(M, K)`."""
    targets: Tensor
    """int64 `(M,)`."""


def cross_validate(
    known: ClassStatistics,
    features: Tensor,
    targets: Tensor,
    *,
    shrinkage: float,
    prior: float | None = None,
    views: int = 1,
    folds: int = 5,
) -> CrossValidated:
    """Measure images against statistics that never saw them, so that the head's optimism on its own data shows.

    Each fold's images are scored by a head built from `known` and the other folds. An image whose class the others
    lack is left out.

    Args:
        known: Statistics of everything but these images.
        features: `(N, D)`.
        targets: int64 `(N,)`.
        shrinkage: As in `GaussianHead`.
        prior: As in `GaussianHead`.
        views: The images come this many times, as equal blocks in the same order. All views of one share a fold.
        folds: Number of parts; each class is dealt out over them in turn.

    Returns:
        M <= N images.
    """
    n_classes = max(len(known.counts), int(targets.max()) + 1)
    once = targets[: len(targets) // views]
    fold = torch.empty_like(once)
    for k in once.unique():
        rows = (once == k).nonzero().squeeze(1)
        fold[rows] = torch.arange(len(rows)) % folds
    fold = fold.repeat(views)
    logits, distances, kept = (
        [torch.empty(0, n_classes)],
        [torch.empty(0, n_classes)],
        [targets[:0]],
    )
    for f in range(folds):
        rest = known.copy()
        rest.add(features[fold != f], targets[fold != f], n_classes)
        mine = ((fold == f) & (rest.counts[targets] > 0)).nonzero().squeeze(1)
        if len(mine):
            head = GaussianHead(rest, shrinkage=shrinkage, prior=prior)
            distances.append(head.squared_distances(features[mine]))
            logits.append(head.logits_at(distances[-1]))
            kept.append(targets[mine])
    return CrossValidated(torch.cat(logits), torch.cat(distances), torch.cat(kept))


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
