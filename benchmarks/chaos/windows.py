"""What judges have in common: spans of time, and how near two readings must be."""

import math
from dataclasses import dataclass

SCORE_TOLERANCE = 1e-3
CLOCK_S = 0.5
"""A row's time is that of its transaction's begin, and clocks are read at different moments."""


@dataclass(frozen=True)
class Window:
    """A span of time, in seconds since 1970."""

    since: float
    until: float

    def overlap(self, since: float, until: float) -> float:
        """Return the seconds that both spans share."""
        return max(0.0, min(self.until, until) - max(self.since, since))


def agree(one: float | None, other: float | None) -> bool:
    """Return whether two scores of one image are the same but for rounding: another batch sums in another order."""
    return one == other or math.isclose(one or 0.0, other or 0.0, abs_tol=SCORE_TOLERANCE)
