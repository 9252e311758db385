"""What is kept instead of images: class means and a pooled scatter of features.

Exact under addition, and carried along when features drift.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from models.errors import CheckpointError, ShapeError


@dataclass
class ClassStatistics:
    """Counts, means and the pooled within-class scatter of features. Shapes: K classes, D feature width.

    All float64 on the CPU: sums of many small terms, and results that do not depend on the device.
    """

    counts: Tensor
    """Images a class, `(K,)`."""
    means: Tensor
    """Mean feature of each class, `(K, D)`."""
    scatter: Tensor
    """Sum over all images of `(f - mean of its class)(f - mean of its class)'`, `(D, D)`."""

    @classmethod
    def empty(cls, width: int) -> "ClassStatistics":
        """Return statistics of no class."""
        zeros = torch.zeros
        return cls(
            zeros(0, dtype=torch.float64),
            zeros(0, width, dtype=torch.float64),
            zeros(width, width, dtype=torch.float64),
        )

    @classmethod
    def of(cls, features: Tensor, targets: Tensor, n_classes: int) -> "ClassStatistics":
        """Return the statistics of `features` `(N, D)` with `targets` `(N,)` below `n_classes`."""
        statistics = cls.empty(features.shape[1])
        statistics.add(features, targets, n_classes)
        return statistics

    @property
    def covariance(self) -> Tensor:
        """Pooled within-class covariance, `(D, D)`."""
        freedom = max(1.0, float(self.counts.sum()) - float((self.counts > 0).sum()))
        return self.scatter / freedom

    def copy(self) -> "ClassStatistics":
        """Return independent statistics with the same values."""
        return ClassStatistics(self.counts.clone(), self.means.clone(), self.scatter.clone())

    def add(self, features: Tensor, targets: Tensor, n_classes: int) -> None:
        """Add images, of new classes or of known ones. The result equals that of adding everything at once.

        Args:
            features: `(N, D)`.
            targets: int64 `(N,)`, below `n_classes`.
            n_classes: Classes after this call; the first ones keep their index.
        """
        if features.ndim != 2 or len(features) != len(targets):
            raise ShapeError(
                f"Features {tuple(features.shape)} and targets {tuple(targets.shape)} do not match."
            )
        x = features.detach().to("cpu", torch.float64)
        y = targets.cpu()
        self._grow(n_classes)
        for k in y.unique().tolist():
            mine = x[y == k]
            n_old, n_new = float(self.counts[k]), len(mine)
            mean = mine.mean(dim=0)
            centred = mine - mean
            gap = mean - self.means[k]
            between = n_old * n_new / (n_old + n_new)
            self.scatter += centred.T @ centred + between * torch.outer(gap, gap)
            self.means[k] += gap * (n_new / (n_old + n_new))
            self.counts[k] += n_new

    def transport(self, drift: "Drift") -> None:
        """Carry means and scatter along when the features they describe have moved."""
        self.means = drift.apply(self.means)
        jacobian = torch.eye(len(drift.linear), dtype=torch.float64) + drift.linear
        self.scatter = jacobian.T @ self.scatter @ jacobian

    def state_dict(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors under prefixed keys."""
        return {
            f"{prefix}counts": self.counts.clone(),
            f"{prefix}means": self.means.clone(),
            f"{prefix}scatter": self.scatter.clone(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], prefix: str) -> "ClassStatistics":
        """Rebuild from what `state_dict` returned.

        Raises:
            CheckpointError: If a tensor is missing or the shapes do not fit together.
        """
        try:
            found = cls(
                *(state[f"{prefix}{part}"].clone() for part in ("counts", "means", "scatter"))
            )
        except KeyError as error:
            raise CheckpointError(f"The statistics {prefix} are incomplete.") from error
        K, D = found.means.shape
        if found.counts.shape != (K,) or found.scatter.shape != (D, D):
            raise CheckpointError(f"The statistics {prefix} have shapes that do not fit together.")
        return found

    def _grow(self, n_classes: int) -> None:
        missing = n_classes - len(self.counts)
        if missing > 0:
            width = self.means.shape[1]
            self.counts = torch.cat([self.counts, torch.zeros(missing, dtype=torch.float64)])
            self.means = torch.cat([self.means, torch.zeros(missing, width, dtype=torch.float64)])


@dataclass(frozen=True)
class Drift:
    """An affine map from features before a change of the sub-network to features after it."""

    linear: Tensor
    """`B` without its last row, `(D, D)`: `f_after - f_before = f_before @ linear + offset`."""
    offset: Tensor
    """Last row of `B`, `(D,)`."""

    @classmethod
    def fit(cls, before: Tensor, after: Tensor, *, ridge: float = 0.1) -> "Drift":
        """Fit the map by ridge regression on features of the same images under both sub-networks.

        Args:
            before: `(N, D)`.
            after: `(N, D)`.
            ridge: Added to the diagonal of the normal equations. Directions the images do not span stay put.
        """
        x = before.detach().to("cpu", torch.float64)
        moved = after.detach().to("cpu", torch.float64) - x
        design = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], dim=1)
        gram = design.T @ design + ridge * torch.eye(design.shape[1], dtype=torch.float64)
        solution = torch.linalg.solve(gram, design.T @ moved)
        return cls(solution[:-1], solution[-1])

    def apply(self, features: Tensor) -> Tensor:
        """Map float64 features `(N, D)`."""
        return features + features @ self.linear + self.offset
