"""A picture as a few numbers, by which near-duplicates are told."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = (9, 8)
"""Width and height, in pixels."""


def make_small(pixels: NDArray[np.uint8]) -> bytes:
    """Return RGB pixels `(H, W, 3)` averaged down to `SIZE`, row by row: 216 bytes.

    Example:
        >>> len(make_small(np.zeros((40, 30, 3), dtype=np.uint8)))
        216
    """
    return Image.fromarray(pixels).resize(SIZE, Image.Resampling.BOX).tobytes()
