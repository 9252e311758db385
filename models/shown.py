"""What images showed a learner, and is kept of them: a row of features an image, up to a bound a class.

Rows are exact under every affine map, add up to means and covariances, and can be left out in turn: cross-validation
needs no image. `FeatureRecords` are what one task showed, class by class, and never change; `Shown` is all of it where
the features are now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from models.errors import ShapeError
from models.state import StateReader
from models.statistics import Drift

AT_ONCE = 2048
"""Rows whose products are added up in float32."""
MOST_ROWS = 256
"""Rows a class keeps of one task. Of more images a sample stands for all; their mean stays exact."""


@dataclass(frozen=True)
class FeatureRecords:
    """What one task's images showed, each class by itself, so that each can be taken out.

    Shapes: C classes of the task, W feature width, M kept rows. On the CPU.
    """

    counts: Tensor
    """Images a class, float64 `(C,)`."""
    means: Tensor
    """Mean feature of each class over all its images, float64 `(C, W)`."""
    rows: Tensor
    """Features of the images that are kept, class after class, float16 `(M, W)`."""
    kept: Tensor
    """Rows of each class, int64 `(C,)`; they sum up to M."""
    untrained: Tensor
    """How many of these, the first ones, are of images that trained no sub-network, int64 `(C,)`."""

    @classmethod
    def of(
        cls,
        features: Tensor,
        targets: Tensor,
        n_classes: int,
        *,
        seed: int,
        trained: Tensor | None = None,
    ) -> "FeatureRecords":
        """Return the records of features.

        Args:
            features: `(N, W)`.
            targets: int64 `(N,)`; every class below `n_classes` is among them.
            n_classes: C.
            seed: Chooses which rows stay, of a class that has too many.
            trained: Which images trained the sub-network that made the features, bool `(N,)`; None is none of them.
        """
        if features.ndim != 2 or len(features) != len(targets):
            raise ShapeError(
                f"Features {tuple(features.shape)} and targets {tuple(targets.shape)} do not match."
            )
        x, y = features.detach().float().cpu(), targets.cpu()
        of_training = torch.zeros(len(y), dtype=torch.bool) if trained is None else trained.cpu()
        generator = torch.Generator().manual_seed(seed)
        means, rows, kept, untrained = [], [], [], []
        for k in range(n_classes):
            mine = (y == k).nonzero().squeeze(1)
            means.append(x[mine].double().mean(dim=0))
            if len(mine) > MOST_ROWS:
                mine = mine[torch.randperm(len(mine), generator=generator)]
            mine = mine[of_training[mine].int().argsort(stable=True)][:MOST_ROWS]
            rows.append(x[mine].half())
            kept.append(len(mine))
            untrained.append(int((~of_training[mine]).sum()))
        counts = torch.bincount(y, minlength=n_classes).double()
        return cls(
            counts, torch.stack(means), torch.cat(rows), torch.tensor(kept), torch.tensor(untrained)
        )

    def select(self, stays: Tensor) -> "FeatureRecords":
        """Return the records of the classes that stay: bool `(C,)`."""
        rows = self.rows[stays.repeat_interleave(self.kept)]
        return FeatureRecords(
            self.counts[stays], self.means[stays], rows, self.kept[stays], self.untrained[stays]
        )

    def state_dict(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors under prefixed keys."""
        return {
            f"{prefix}counts": self.counts,
            f"{prefix}means": self.means,
            f"{prefix}rows": self.rows,
            f"{prefix}kept": self.kept,
            f"{prefix}untrained": self.untrained,
        }

    @classmethod
    def from_state(
        cls, state: Mapping[str, Tensor], prefix: str, n_classes: int, width: int
    ) -> "FeatureRecords":
        """Rebuild from what `state_dict` returned, of C classes and W numbers.

        Raises:
            CheckpointError: If a tensor is missing or the shapes do not fit together.
        """
        reader = StateReader(state, prefix, what="the features of a task")
        means = reader.tensor("means", (n_classes, width), torch.float64)
        counts = reader.tensor("counts", (n_classes,), torch.float64)
        kept = reader.tensor("kept", (n_classes,), torch.int64)
        rows = reader.tensor("rows", (int(kept.clamp(min=0).sum()), width), torch.float16)
        reader.require(bool((kept >= 1).all() and (counts >= kept).all()), "kept")
        untrained = reader.tensor("untrained", (n_classes,), torch.int64)
        reader.require(bool(((untrained >= 0) & (untrained <= kept)).all()), "untrained")
        return cls(counts, means, rows, kept, untrained)


@dataclass(frozen=True)
class KeptRows:
    """Of which images some rows are: those that a task showed of one class."""

    task: int
    """The task's index."""
    target: int
    """Index of the class."""
    n_rows: int
    n_images: int
    """More than rows where a sample stands for all."""
    is_in_order: bool
    """Whether the rows are in the order in which the images were sent: so they are until some of them train."""


@dataclass(frozen=True)
class Shown:
    """Everything that was shown, where the features are now. Shapes: K classes, W feature width, M kept rows."""

    counts: Tensor
    """Images a class, float64 `(K,)`."""
    means: Tensor
    """Mean feature of each class, float64 `(K, W)`."""
    rows: Tensor
    """Features, float64 `(M, W)`."""
    targets: Tensor
    """Class of each row, int64 `(M,)`."""
    weights: Tensor
    """Images that each row stands for, float64 `(M,)`: 1 where all are kept."""
    tasks: Tensor
    """Index of the task that brought each row, int64 `(M,)`."""
    untrained: Tensor
    """Whether its image trained no sub-network, bool `(M,)`: only such rows tell how new images will look."""
    known_scatter: Tensor | None = None
    """`scatter`, where it is known without adding up all rows."""

    @classmethod
    def merged(
        cls,
        parts: Sequence[tuple[int, Tensor, FeatureRecords, Drift | None]],
        n_classes: int,
        width: int,
    ) -> "Shown":
        """Put together what tasks showed.

        Args:
            parts: Of each task its index, the index of each of its classes, int64 `(C,)`, its records, and how features
                moved since then.
            n_classes: K.
            width: W.
        """
        counts = torch.zeros(n_classes, dtype=torch.float64)
        sums = torch.zeros(n_classes, width, dtype=torch.float64)
        no_index = torch.zeros(0, dtype=torch.int64)
        moved, classes, tasks = [(sums[:0], sums[:0].half())], [no_index], [no_index]
        of_class = [(counts[:0], no_index, no_index)]
        for index, mine, records, drift in parts:
            means, rows = records.means, records.rows
            if drift is not None:
                means, rows = drift.apply(means), drift.apply(rows.double())
            moved.append((means, rows))
            classes.append(mine)
            tasks.append(torch.full((len(mine),), index))
            of_class.append((records.counts, records.kept, records.untrained))
        # One step for all tasks: of a hundred, each step for one takes as long as for all.
        means, rows = map(torch.cat, zip(*moved, strict=True))
        shown, kept, untrained = map(torch.cat, zip(*of_class, strict=True))
        owners = torch.cat(classes)
        counts.index_add_(0, owners, shown)
        sums.index_add_(0, owners, means * shown[:, None])
        place = torch.arange(len(rows)) - (kept.cumsum(0) - kept).repeat_interleave(kept)
        return cls(
            counts,
            sums / counts.clamp(min=1)[:, None],
            rows.double(),
            owners.repeat_interleave(kept),
            (shown / kept).repeat_interleave(kept),
            torch.cat(tasks).repeat_interleave(kept),
            place < untrained.repeat_interleave(kept),
        )

    def joined(self, task: int, classes: Tensor, records: FeatureRecords) -> "Shown":
        """Return what there is with one more task's records; `classes` are as in `merged`, among the K."""
        K, W = self.means.shape
        new = Shown.merged([(task, classes, records, None)], K, W)
        counts = self.counts + new.counts
        sums = self.means * self.counts[:, None] + new.means * new.counts[:, None]
        return Shown(
            counts,
            sums / counts.clamp(min=1)[:, None],
            torch.cat([self.rows, new.rows]),
            torch.cat([self.targets, new.targets]),
            torch.cat([self.weights, new.weights]),
            torch.cat([self.tasks, new.tasks]),
            torch.cat([self.untrained, new.untrained]),
        )

    def moved(self, drift: Drift | None) -> "Shown":
        """Return what there is where features are after a move."""
        if drift is None:
            return self
        means, rows = drift.apply(self.means), drift.apply(self.rows)
        return replace(self, means=means, rows=rows, known_scatter=None)

    def without(self, left_out: Tensor) -> "Shown":
        """Return what stays without some rows, bool `(M,)`; each goes as one image."""
        x, y = self.rows[left_out], self.targets[left_out]
        sums = self.means * self.counts[:, None]
        sums.index_add_(0, y, -x)
        counts = self.counts - torch.bincount(y, minlength=len(self.counts))
        means = sums / counts.clamp(min=1)[:, None]
        rest = self.select((~left_out).nonzero().squeeze(1))
        scatter = None
        if len(rest.rows) > len(y) + len(counts):  # so it costs less than adding up what stays
            scatter = self._scatter_without(left_out.nonzero().squeeze(1), means)
        return replace(rest, counts=counts, means=means, known_scatter=scatter)

    def select(self, rows: Tensor) -> "Shown":
        """Return some of the rows, int64 `(R,)`, with counts and means as they are."""
        return Shown(
            self.counts,
            self.means,
            self.rows[rows],
            self.targets[rows],
            self.weights[rows],
            self.tasks[rows],
            self.untrained[rows],
        )

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the scatter within classes: images less classes."""
        return float(self.counts.sum()) - float((self.counts > 0).sum())

    @cached_property
    def scatter(self) -> Tensor:
        """Scatter of all rows around the means of their classes, float64 `(W, W)`."""
        if self.known_scatter is not None:
            return self.known_scatter
        W = self.means.shape[1]
        total = torch.zeros(W, W, dtype=torch.float64)
        # Products in float32, which are twice as fast, of parts that are small enough to stay exact.
        for part in self._parts():
            total += _product(self.rows[part] - self.means[self.targets[part]], self.weights[part])
        return total

    def _scatter_without(self, left_out: Tensor, means: Tensor) -> Tensor:
        """Return the scatter of what stays without some rows, int64 `(R,)`, around other means, `(K, W)`.

        Seen from the new mean, what stays of a class scatters by `r'd + d'r - m d'd` less, d the way from the old mean,
        m its weight and r the weighted sum of its residuals from there.
        """
        sums, stays = (each.clone() for each in self._residues)
        total = self.scatter.clone()
        for part in left_out.split(AT_ONCE):
            targets, weights = self.targets[part], self.weights[part]
            residuals = self.rows[part] - self.means[targets]
            total -= _product(residuals, weights)
            sums.index_add_(0, targets, _weighted(residuals, weights), alpha=-1)
            stays.index_add_(0, targets, weights, alpha=-1)
        moved = means - self.means
        half = (sums - stays[:, None] * moved / 2).float().T @ moved.float()
        return total - half - half.T

    @cached_property
    def _residues(self) -> tuple[Tensor, Tensor]:
        """Weighted sums of the rows of each class less its mean, float64 `(K, W)`, and their weights, `(K,)`.

        The sums are hardly more than rounding where all rows of a class are kept.
        """
        sums, weights = torch.zeros_like(self.means), torch.zeros_like(self.counts)
        for part in self._parts():
            targets, mine = self.targets[part], self.weights[part]
            sums.index_add_(0, targets, _weighted(self.rows[part] - self.means[targets], mine))
            weights.index_add_(0, targets, mine)
        return sums, weights

    def _parts(self) -> list[slice]:
        """Return the rows in parts."""
        return [slice(start, start + AT_ONCE) for start in range(0, len(self.rows), AT_ONCE)]

    @cached_property
    def place(self) -> Tensor:
        """Position of each row among those of its class, int64 `(M,)`."""
        order = self.targets.argsort(stable=True)
        counts = torch.bincount(self.targets, minlength=len(self.counts))
        first = (counts.cumsum(0) - counts)[self.targets[order]]
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order)) - first
        return place


def _weighted(residuals: Tensor, weights: Tensor) -> Tensor:
    """Return residuals `(N, W)` times their weights `(N,)`; hardly ever is one not 1."""
    return residuals if bool((weights == 1).all()) else residuals * weights[:, None]


def _product(residuals: Tensor, weights: Tensor) -> Tensor:
    """Return the scatter `(W, W)`, float32, of residuals `(N, W)`."""
    mine = _weighted(residuals, weights.sqrt()).float()
    return mine.T @ mine
