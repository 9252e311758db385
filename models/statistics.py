"""What is kept instead of images: class means and scatters of features.

Exact under addition, and carried along when features drift. `ClassRecords` are what one task showed, class by class,
and never change; `ClassStatistics` are what a classifier reads, pooled over all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from models.errors import ShapeError
from models.state import StateReader


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
            mean = mine.mean(dim=0)
            centred = mine - mean
            self._absorb(k, centred.T @ centred)
            self._merge(k, float(len(mine)), mean)

    def merge(
        self,
        records: "ClassRecords",
        classes: Tensor,
        n_classes: int,
        drift: "Drift | None" = None,
    ) -> None:
        """Add what a task showed.

        Args:
            records: Of C classes.
            classes: Index of each, int64 `(C,)`, below `n_classes`.
            n_classes: Classes after this call; the first ones keep their index.
            drift: How features moved since then.
        """
        self._grow(n_classes)
        means = records.means if drift is None else drift.apply(records.means)
        for row, k in enumerate(classes.tolist()):
            scatter = records.scatter(row)
            self._absorb(k, scatter if drift is None else drift.carry(scatter))
            self._merge(k, float(records.counts[row]), means[row])

    def subtract(self, features: Tensor, targets: Tensor) -> None:
        """Take images out that were added: features `(N, D)`, targets `(N,)`. Undoes `add` but for rounding."""
        x = features.detach().to("cpu", torch.float64)
        y = targets.cpu()
        for k in y.unique().tolist():
            mine = x[y == k]
            mean = mine.mean(dim=0)
            centred = mine - mean
            self._absorb(k, -(centred.T @ centred))
            n_left = float(self.counts[k]) - len(mine)
            if n_left > 0:
                left = self.means[k] + (self.means[k] - mean) * (len(mine) / n_left)
                between = n_left * len(mine) / float(self.counts[k])
                self._absorb(k, -between * torch.outer(mean - left, mean - left))
                self.means[k] = left
            self.counts[k] = n_left

    def select(self, classes: Tensor) -> "ClassStatistics":
        """Return statistics of these classes alone, int64 `(C,)`. The others have no image left."""
        return ClassStatistics(
            self.counts[classes].clone(), self.means[classes].clone(), self.scatter.clone()
        )

    def transport(self, drift: "Drift") -> None:
        """Carry means and scatter along when the features they describe have moved."""
        self.means = drift.apply(self.means)
        self.scatter = drift.carry(self.scatter)

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
        reader = StateReader(state, prefix, what="the statistics of the classes")
        means = reader.tensor("means", (None, None), torch.float64)
        K, D = means.shape
        counts = reader.tensor("counts", (K,), torch.float64)
        scatter = reader.tensor("scatter", (D, D), torch.float64)
        return cls(counts.clone(), means.clone(), scatter.clone())

    def _absorb(self, k: int, scatter: Tensor) -> None:
        """Add to the scatter `(D, D)` what class `k` scatters."""
        self.scatter += scatter

    def _merge(self, k: int, n: float, mean: Tensor) -> None:
        """Move the mean of class `k` by `n` images around `mean`, whose own scatter is added already."""
        n_old = float(self.counts[k])
        gap = mean - self.means[k]
        self._absorb(k, n_old * n / (n_old + n) * torch.outer(gap, gap))
        self.means[k] += gap * (n / (n_old + n))
        self.counts[k] += n

    def _grow(self, n_classes: int) -> None:
        missing = n_classes - len(self.counts)
        if missing > 0:
            width = self.means.shape[1]
            self.counts = torch.cat([self.counts, torch.zeros(missing, dtype=torch.float64)])
            self.means = torch.cat([self.means, torch.zeros(missing, width, dtype=torch.float64)])


@dataclass
class ClassGaussians(ClassStatistics):
    """Statistics that also know how each class scatters by itself."""

    scatters: Tensor
    """Scatter of each class around its own mean, `(K, D, D)`; they sum up to `scatter`."""

    @classmethod
    def empty(cls, width: int) -> "ClassGaussians":
        """Return statistics of no class."""
        none = ClassStatistics.empty(width)
        scatters = torch.zeros(0, width, width, dtype=torch.float64)
        return cls(none.counts, none.means, none.scatter, scatters)

    def copy(self) -> "ClassGaussians":
        """Return independent statistics with the same values."""
        return ClassGaussians(
            self.counts.clone(), self.means.clone(), self.scatter.clone(), self.scatters.clone()
        )

    def transport(self, drift: "Drift") -> None:
        """Carry means and scatters along when the features they describe have moved."""
        super().transport(drift)
        self.scatters = drift.carry(self.scatters)

    def _absorb(self, k: int, scatter: Tensor) -> None:
        super()._absorb(k, scatter)
        self.scatters[k] += scatter

    def _grow(self, n_classes: int) -> None:
        super()._grow(n_classes)
        missing, width = n_classes - len(self.scatters), self.means.shape[1]
        if missing > 0:
            new = torch.zeros(missing, width, width, dtype=torch.float64)
            self.scatters = torch.cat([self.scatters, new])


@dataclass(frozen=True)
class ClassRecords:
    """What one task's images showed, each class by itself, so that each can be taken out.

    Shapes: C classes of the task, D feature width, E = D (D + 1) / 2. On the CPU.
    """

    counts: Tensor
    """Images a class, float64 `(C,)`."""
    means: Tensor
    """Mean feature of each class, float64 `(C, D)`."""
    triangles: Tensor
    """Lower triangle of each class's scatter around its own mean, float32 `(C, E)`: half the size of a square."""

    @classmethod
    def of(cls, features: Tensor, targets: Tensor, n_classes: int) -> "ClassRecords":
        """Return the records of `features` `(N, D)`; every class below `n_classes` is among the `targets` `(N,)`."""
        if features.ndim != 2 or len(features) != len(targets):
            raise ShapeError(
                f"Features {tuple(features.shape)} and targets {tuple(targets.shape)} do not match."
            )
        x = features.detach().to("cpu", torch.float64)
        row, column = torch.tril_indices(x.shape[1], x.shape[1])
        means, triangles = [], []
        for k in range(n_classes):
            mine = x[targets.cpu() == k]
            mean = mine.mean(dim=0)
            centred = mine - mean
            means.append(mean)
            triangles.append((centred.T @ centred)[row, column].float())
        counts = torch.bincount(targets.cpu(), minlength=n_classes).double()
        return cls(counts, torch.stack(means), torch.stack(triangles))

    def scatter(self, row: int) -> Tensor:
        """Return the scatter of one class around its own mean, float64 `(D, D)`."""
        D = self.means.shape[1]
        i, j = torch.tril_indices(D, D)
        scatter = torch.zeros(D, D, dtype=torch.float64)
        scatter[i, j] = scatter[j, i] = self.triangles[row].double()
        return scatter

    def gaussians(self) -> "ClassGaussians":
        """Return what a classifier among these classes reads."""
        gaussians = ClassGaussians.empty(self.means.shape[1])
        gaussians.merge(self, torch.arange(len(self.counts)), len(self.counts))
        return gaussians

    def select(self, rows: Tensor) -> "ClassRecords":
        """Return the records of some of the classes: their positions, or a bool `(C,)`."""
        return ClassRecords(self.counts[rows], self.means[rows], self.triangles[rows])

    def state_dict(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors under prefixed keys."""
        return {
            f"{prefix}counts": self.counts,
            f"{prefix}means": self.means,
            f"{prefix}triangles": self.triangles,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], prefix: str) -> "ClassRecords":
        """Rebuild from what `state_dict` returned.

        Raises:
            CheckpointError: If a tensor is missing or the shapes do not fit together.
        """
        reader = StateReader(state, prefix, what="the records of a task")
        means = reader.tensor("means", (None, None), torch.float64)
        C, D = means.shape
        counts = reader.tensor("counts", (C,), torch.float64)
        return cls(counts, means, reader.tensor("triangles", (C, D * (D + 1) // 2)))


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
        # In the order in which it is read back: products would else differ in the last bit.
        solution = torch.linalg.solve(gram, design.T @ moved).contiguous()
        return cls(solution[:-1], solution[-1])

    def apply(self, features: Tensor) -> Tensor:
        """Map float64 features `(N, D)`."""
        return features + features @ self.linear + self.offset

    def carry(self, scatter: Tensor) -> Tensor:
        """Map the scatter of features, float64 `(..., D, D)`."""
        jacobian = torch.eye(len(self.linear), dtype=torch.float64) + self.linear
        return jacobian.T @ scatter @ jacobian

    def then(self, later: "Drift | None") -> "Drift":
        """Return both moves as one."""
        if later is None:
            return self
        linear = self.linear + later.linear + self.linear @ later.linear
        return Drift(linear, self.offset + self.offset @ later.linear + later.offset)

    def state_dict(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors under prefixed keys."""
        return {f"{prefix}linear": self.linear, f"{prefix}offset": self.offset}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], prefix: str) -> "Drift | None":
        """Rebuild from what `state_dict` returned; None where it is not there.

        Raises:
            CheckpointError: If the shapes do not fit together.
        """
        reader = StateReader(state, prefix, what="a drift")
        if "linear" not in reader or "offset" not in reader:
            return None
        offset = reader.tensor("offset", (None,), torch.float64)
        return cls(reader.tensor("linear", (len(offset), len(offset)), torch.float64), offset)
