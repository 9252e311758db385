"""The same image twice: found by small copies of both, in which re-encoding, resizing and mirroring leave no trace.

Shapes: N images, M among which twins are sought, S input side.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

SAME_CORRELATION, SAME_DIFFERENCE = 0.985, 0.08
"""Of two thumbnails, mirrored or not: from which correlation, and up to which difference, they show the same image."""
FLAT = 0.02
"""Standard deviation of a thumbnail's values below which it shows too little to be called the same as another."""
THUMBNAIL = 16
COPY_RATIO = 0.5
"""How far a copy may be from its twin, relative to how far an image is from the nearest of its own class."""
_CHUNK = 1024


def find_twins(images: Tensor, everything: Tensor, targets: Tensor) -> Tensor:
    """Return for each image the class of one that is the same and labelled otherwise, int64 `(N,)`; -1 for none.

    Where images of one class are hardly less alike, as photographs from one camera on a belt are, nothing is a copy.

    Args:
        images: Thumbnails of the batch.
        everything: The same, and then those of known classes.
        targets: Class of each of `everything`.
    """
    own, nearest, twins = [], torch.full((len(images),), torch.inf), torch.full((len(images),), -1)
    for start in range(0, len(images), _CHUNK):
        rows = torch.arange(start, min(start + _CHUNK, len(images)))
        is_own = targets[rows][:, None] == targets[None, :]
        for sought in (images[rows], images[rows].flip(-1)):
            difference, is_same = _compare(sought, everything)
            apart = difference.masked_fill(~is_same | is_own, torch.inf)
            closest, twin = apart.min(dim=1)
            closer = closest < nearest[rows]
            nearest[rows[closer]] = closest[closer]
            twins[rows[closer]] = targets[twin[closer]]
        difference, _ = _compare(images[rows], everything)
        difference[torch.arange(len(rows)), rows] = torch.inf
        own.append(difference.masked_fill(~is_own, torch.inf).min(dim=1).values)
    usual = torch.cat(own)
    usual = usual[usual.isfinite()]
    limit = COPY_RATIO * float(usual.median()) if len(usual) else 0.0
    return twins.masked_fill(nearest > limit, -1)


def thumbnails(images: Tensor) -> Tensor:
    """Return small copies in which re-encoding and resizing leave no trace: float `(N, 3, 16, 16)` in `[0, 1]`."""
    parts = [F.adaptive_avg_pool2d(part.float() / 255, THUMBNAIL) for part in images.split(_CHUNK)]
    return torch.cat(parts) if parts else torch.empty(0, 3, THUMBNAIL, THUMBNAIL)


def _compare(sought: Tensor, among: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far thumbnails `(A, ...)` differ from `(B, ...)`, and which could be the same image: `(A, B)` both."""
    a, b = sought.flatten(1), among.flatten(1)
    n = a.shape[1]
    mean_a, mean_b = a.mean(dim=1), b.mean(dim=1)
    square_a, square_b = a.square().mean(dim=1), b.square().mean(dim=1)
    product = a @ b.T / n
    covariance = product - mean_a[:, None] * mean_b[None, :]
    spread_a = (square_a - mean_a.square()).clamp(min=1e-9).sqrt()
    spread_b = (square_b - mean_b.square()).clamp(min=1e-9).sqrt()
    is_shape = covariance >= SAME_CORRELATION * spread_a[:, None] * spread_b[None, :]
    difference = (square_a[:, None] + square_b[None, :] - 2 * product).clamp(min=0).sqrt()
    has_shape = (spread_a[:, None] > FLAT) & (spread_b[None, :] > FLAT)
    return difference, is_shape & has_shape & (difference <= SAME_DIFFERENCE)
