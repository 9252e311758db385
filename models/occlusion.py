"""Which places of an image speak for its answer: by how much the answer loses when a place is covered.

The image is covered at overlapping places by what it looks like blurred, and asked each time. So it works for every
strategy, and for what the answer is as a whole: sub-networks, mixture and all. Which method is most faithful was
measured: docs/decisions/0047-why-an-answer.md.

Reference:
    Zeiler and Fergus, 2014, https://arxiv.org/abs/1311.2901 (grey patches there; a blur leaves no edge of its own).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

CELLS = 8
"""Cells of the map along a side."""
COVERED = 2
"""Cells that are covered at once, along a side: about as much as a thing's part."""
LEAST = 1e-6


@dataclass(frozen=True)
class Place:
    """A square that is covered, in cells; it may stick out."""

    top: int
    left: int

    def cells(self) -> tuple[slice, slice]:
        """Return which cells it covers."""
        return _within(self.top), _within(self.left)


def _within(start: int) -> slice:
    return slice(max(0, start), min(CELLS, start + COVERED))


def places() -> list[Place]:
    """Return all places, so that each cell is covered equally often."""
    starts = range(1 - COVERED, CELLS)
    return [Place(top, left) for top in starts for left in starts]


def covered(image: Tensor) -> Tensor:
    """Return the image with each place covered in turn, after the image as it is.

    Args:
        image: uint8 `(3, S, S)`.

    Returns:
        uint8 `(1 + P, 3, S, S)`.
    """
    side = image.shape[-1]
    edges = [round(side * i / CELLS) for i in range(CELLS + 1)]
    blur = blurred(image)
    images = image[None].repeat(1 + len(places()), 1, 1, 1)
    for number, place in enumerate(places(), start=1):
        rows, columns = place.cells()
        ys = slice(edges[rows.start], edges[rows.stop])
        xs = slice(edges[columns.start], edges[columns.stop])
        images[number, :, ys, xs] = blur[:, ys, xs]
    return images


def blurred(image: Tensor) -> Tensor:
    """Return what is left of an image without its details, uint8 `(3, S, S)`."""
    side = image.shape[-1]
    radius = max(1, round(side * 7 / 64))
    x = image[None].float()
    for _ in range(3):
        x = F.pad(x, (radius,) * 4, mode="reflect")
        x = F.avg_pool2d(x, 2 * radius + 1, 1)
    return x[0].round().to(torch.uint8)


def speaks_for(probabilities: Tensor, answered: int) -> Tensor:
    """Return how much each cell speaks for a class, `(CELLS, CELLS)`: the mean loss of log odds while it is covered.

    Below 0 it speaks against it.

    Args:
        probabilities: Of what `covered` returned, `(1 + P, K)`.
        answered: The class.
    """
    share = probabilities[:, answered].double().clamp(LEAST, 1 - LEAST)
    odds = share.log() - (1 - share).log()
    total = torch.zeros(CELLS, CELLS, dtype=torch.float64)
    times = torch.zeros(CELLS, CELLS, dtype=torch.float64)
    for place, lost in zip(places(), (odds[0] - odds[1:]).tolist(), strict=True):
        total[place.cells()] += lost
        times[place.cells()] += 1
    return (total / times).float()
