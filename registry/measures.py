"""Accuracies with what they rest on: how many images, of which kind, and how far the truth may be from them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from registry.intervals import TOO_WIDE, wilson

MeasuredBy = Literal["held_out", "cross_validated", "both"]


@dataclass(frozen=True)
class Measure:
    """A share of images, or a difference or mean of such, with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int
    """Images it rests on; for a mean over versions, those of the version with most."""
    n_cross_validated: int = 0
    """Of these, training images answered by a head that never saw them; the others were held out."""

    @property
    def measured_by(self) -> MeasuredBy:
        """Which kind of images it rests on."""
        if not self.n_cross_validated:
            return "held_out"
        return "cross_validated" if self.n_cross_validated == self.n else "both"

    @property
    def is_too_few(self) -> bool:
        """Whether there are too few images to tell."""
        return self.high - self.low > TOO_WIDE

    @property
    def may_be_zero(self) -> bool:
        """Whether a difference lies within its uncertainty."""
        return self.low <= 0 <= self.high


def share(right: int, n: int, n_cross_validated: int = 0) -> Measure | None:
    """Return the share of right answers with Wilson's interval; None of no image.

    Example:
        >>> three_of_four = share(3, 4)
        >>> [round(bound, 3) for bound in (three_of_four.low, three_of_four.high)]
        [0.301, 0.954]
    """
    return Measure(right / n, *wilson(right, n), n, n_cross_validated) if n else None


class Counts:
    """What is counted for one cell of the accuracy matrix: held-out images, and training images left out in turn."""

    n: int
    n_correct: int
    n_cross_validated: int
    n_cross_validated_correct: int

    @property
    def n_measured(self) -> int:
        """Images of both kinds."""
        return self.n + self.n_cross_validated

    @property
    def n_right(self) -> int:
        """Of these, those that were answered right."""
        return self.n_correct + self.n_cross_validated_correct

    def measure(self) -> Measure | None:
        """Return the accuracy; None of no image."""
        return share(self.n_right, self.n_measured, self.n_cross_validated)


def pooled(cells: Sequence[Counts | None]) -> Measure | None:
    """Return the share of right answers over all cells together; None of no image."""
    counted = [cell for cell in cells if cell is not None]
    return share(
        sum(cell.n_right for cell in counted),
        sum(cell.n_measured for cell in counted),
        sum(cell.n_cross_validated for cell in counted),
    )


def difference(one: Measure | None, other: Measure | None) -> Measure | None:
    """Return `one - other`; None if either is not known.

    The distances of both to their limits are added as squares (MOVER), as if they came from different images. Two
    versions answer mostly the same ones, so the interval is rather too wide than too narrow.

    Reference:
        Newcombe, 1998, method 10, https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I.
    """
    if one is None or other is None:
        return None
    value = one.value - other.value
    below = math.hypot(one.value - one.low, other.high - other.value)
    above = math.hypot(one.high - one.value, other.value - other.low)
    return Measure(value, value - below, value + above, other.n, other.n_cross_validated)


def mean_of_tasks(measures: Sequence[Measure | None]) -> Measure | None:
    """Return the mean of those that are known; None if none is. Tasks have different images: their errors even out.

    Reference:
        MOVER for a sum of several: Zou, Huang, Zhang, 2009, https://doi.org/10.1016/j.csda.2008.09.033.
    """
    known = [measure for measure in measures if measure is not None]
    if not known:
        return None
    value = sum(measure.value for measure in known) / len(known)
    below = math.hypot(*(measure.value - measure.low for measure in known)) / len(known)
    above = math.hypot(*(measure.high - measure.value for measure in known)) / len(known)
    return Measure(
        value,
        value - below,
        value + above,
        sum(measure.n for measure in known),
        sum(measure.n_cross_validated for measure in known),
    )


def mean_of_versions(measures: Sequence[Measure | None]) -> Measure | None:
    """Return the mean of those that are known; None if none is. Versions answer the same images: no error evens out."""
    known = [measure for measure in measures if measure is not None]
    if not known:
        return None
    most = max(known, key=lambda measure: measure.n)
    value, low, high = (
        sum(getattr(measure, name) for measure in known) / len(known)
        for name in ("value", "low", "high")
    )
    return Measure(value, low, high, most.n, most.n_cross_validated)
