"""Correcting: images of a task that were given another label, or taken out, and what is kept of them follows.

What is kept of an image is a row of features and its share of a mean. Both subtract from one class and add to another,
so nothing is trained, and no other image is needed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.errors import CorrectionError
from models.shown import MOST_ROWS, FeatureRecords

NOWHERE = -1
"""Instead of the index of a class: of an image that is taken out."""
NEAR = 0.05
"""How far a kept row may be from what its image becomes again, as a share of its length. Rows are rounded to float16,
which is a hundred times less; two images of a class that are no copies of each other are much further apart."""


@dataclass(frozen=True)
class Relabelled:
    """Training images of one task that get another label, or none. Shape: N images."""

    task: int
    """The task's index."""
    images: Tensor
    """uint8, `(N, 3, H, W)`."""
    before: tuple[str | None, ...]
    """Label of each so far; None for one that was taken out before."""
    after: tuple[str | None, ...]
    """Label of each from now on; None for one that is taken out."""
    places: tuple[int, ...]
    """How many images of the task that have the same label from now on were sent before each."""


@dataclass(frozen=True)
class Change:
    """The same, by indexes of classes. Shape: N images."""

    task: int
    before: tuple[int, ...]
    """`NOWHERE` for an image that was taken out before."""
    after: tuple[int, ...]
    """`NOWHERE` for an image that is taken out."""
    places: tuple[int, ...]

    @classmethod
    def of(cls, relabelled: Relabelled, classes: Sequence[str]) -> "Change":
        """Look the labels up among those of a learner."""
        index: dict[str | None, int] = {label: k for k, label in enumerate(classes)}
        index[None] = NOWHERE
        return cls(
            relabelled.task,
            tuple(index[label] for label in relabelled.before),
            tuple(index[label] for label in relabelled.after),
            relabelled.places,
        )

    @property
    def arriving(self) -> list[int]:
        """Images that come to a class, in the order in which they are put into place."""
        there = [i for i, target in enumerate(self.after) if target != NOWHERE]
        return sorted(there, key=lambda i: self.places[i])

    @property
    def leaving(self) -> Iterator[int]:
        """Images that leave a class."""
        return (i for i, target in enumerate(self.before) if target != NOWHERE)


@dataclass
class _ClassRecord:
    """What is kept of one class of a task. Shapes: W feature width, M kept rows."""

    count: float
    mean: Tensor
    """float64 `(W,)`."""
    rows: Tensor
    """float16 `(M, W)`."""
    untrained: int
    """How many rows, the first ones, are of images that trained no sub-network."""

    def take(self, feature: Tensor) -> tuple[Tensor, bool]:
        """Take an image out, and return its row and whether it trained a sub-network."""
        distances = (self.rows.float() - feature).norm(dim=1)
        row = int(distances.argmin())
        is_kept = bool(distances[row] <= NEAR * feature.norm())
        if not is_kept and len(self.rows) == self.count:
            raise CorrectionError(
                "What was kept of an image that is to be corrected does not look like the stored image any more: "
                "unlearn its class or task, and teach it again."
            )
        self.mean = (self.mean * self.count - feature.double()) / max(1.0, self.count - 1)
        self.count -= 1
        if not is_kept:
            return feature.half(), False
        taken, is_trained = self.rows[row], row >= self.untrained
        self.rows = torch.cat([self.rows[:row], self.rows[row + 1 :]])
        self.untrained -= not is_trained
        return taken, is_trained

    def put(self, feature: Tensor, row: Tensor, place: int, *, is_trained: bool) -> None:
        """Add an image, with a row for it if there is room."""
        self.mean = (self.mean * self.count + feature.double()) / (self.count + 1)
        self.count += 1
        if len(self.rows) >= MOST_ROWS:
            return
        at = len(self.rows) if is_trained else min(place, self.untrained)
        self.rows = torch.cat([self.rows[:at], row[None], self.rows[at:]])
        self.untrained += not is_trained


def corrected(
    records: FeatureRecords, classes: Tensor, change: Change, features: Tensor
) -> tuple[FeatureRecords, Tensor]:
    """Return what a task shows after images changed place, and of which classes.

    Shapes: C classes of the task, N images, W feature width.

    Args:
        records: What it showed before.
        classes: Indexes of its classes, int64 `(C,)`.
        change: Which images, from where to where.
        features: What they are under what made the records, `(N, W)`. An image's row goes along as it is.

    Raises:
        CorrectionError: If an image is none that the records are of.
    """
    x = features.detach().float().cpu()
    parts = dict(zip(classes.tolist(), _parts(records), strict=True))
    is_trained = bool((records.untrained < records.kept).any())
    taken = {i: parts[change.before[i]].take(x[i]) for i in change.leaving}
    for i in change.arriving:
        row, was_trained = taken.get(i, (x[i].half(), is_trained))
        part = parts.setdefault(
            change.after[i], _ClassRecord(0, torch.zeros_like(x[i]).double(), records.rows[:0], 0)
        )
        part.put(x[i], row, change.places[i], is_trained=was_trained)
    left = {target: part for target, part in sorted(parts.items()) if part.count}
    if any(not len(part.rows) for part in left.values()):
        raise CorrectionError(
            "Of a class that shows more images than are kept of it, all that are kept would leave: move fewer."
        )
    if not left:
        raise CorrectionError(f"Nothing of task {change.task} would stay: unlearn it instead.")
    return _joined(list(left.values())), torch.tensor(list(left), dtype=torch.int64)


def _parts(records: FeatureRecords) -> list[_ClassRecord]:
    rows = records.rows.split(records.kept.tolist())
    values = zip(records.counts.tolist(), records.means, rows, records.untrained, strict=True)
    return [_ClassRecord(count, mean, mine, int(n)) for count, mean, mine, n in values]


def _joined(parts: Sequence[_ClassRecord]) -> FeatureRecords:
    return FeatureRecords(
        counts=torch.tensor([part.count for part in parts], dtype=torch.float64),
        means=torch.stack([part.mean for part in parts]),
        rows=torch.cat([part.rows for part in parts]),
        kept=torch.tensor([len(part.rows) for part in parts]),
        untrained=torch.tensor([part.untrained for part in parts]),
    )
