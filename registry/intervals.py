"""How sure a share of right answers is. Of the standard library alone: the command line uses it too."""

import math

Z_95 = 1.959963984540054
"""Half width of the central 95 % of a normal distribution, in standard deviations."""
TOO_WIDE = 0.4
"""Width of a 95 % interval from which it is too few to tell: what reads as 60 % may then be 40 or 80, so that "mostly
right" and "mostly wrong" cannot be told apart. About 20 images where half are right, 6 where all are."""


def wilson(right: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share, from 0 to 1. All of it for n = 0.

    It holds for few images and for shares near 0 and 1, where the usual one says that there is no doubt.

    Reference:
        Wilson, 1927, https://doi.org/10.1080/01621459.1927.10502953. Without continuity correction.

    Example:
        >>> [round(bound, 4) for bound in wilson(9, 10)]
        [0.5958, 0.9821]
        >>> [round(bound, 4) for bound in wilson(10, 10)]
        [0.7225, 1.0]
    """
    if n == 0:
        return 0.0, 1.0
    share, z2 = right / n, Z_95**2
    middle = share + z2 / (2 * n)
    half = Z_95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    scale = 1 + z2 / n
    low = 0.0 if right == 0 else (middle - half) / scale
    high = 1.0 if right == n else (middle + half) / scale
    return low, high
