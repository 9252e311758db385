"""What a learner's images become before its backbone brings them to its own size: one form a learner, for good.

Images that are learned, held out, predicted and kept all take it, so that each is seen as it was learned, and the same
image is the same file again.
"""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.intake.png_writing import write_png
from service.schemas.bundles import MAX_HALVED_TO

RESAMPLED_SIDE = 384
"""Longest short side of the form of earlier releases."""
HALVED_SIDE = 288
"""Short side that is left at least, unless the backbone looks at more: what most backbones look at, with some room for
others, and for people who look at the stored image."""
RESAMPLED_DRAFT_SIDE = 720
"""Short side that a JPEG of the older form keeps at least where it is decoded at reduced size: nearly twice the final
one, since at 512 the pixels differ visibly."""
REDUCING_GAP = 3.0
"""Pixels of the older form are averaged down to this many times the final size, then Lanczos decides."""
_DRAFT_SCALES = (8, 4, 2, 1)
"""By how much a JPEG's sides shrink while it is decoded."""


@dataclass(frozen=True)
class ImageForm:
    """How large a learner's images are, and how they are written.

    An image is halved, its pixels averaged, as often as its short side stays at least `halved_to` pixels long. A JPEG
    is decoded at that size to begin with. Learners of earlier releases have no such side: their images are averaged
    and then resampled by Lanczos to a short side of 384 pixels, which costs ten times as much.
    """

    halved_to: int | None
    """None for the form of earlier releases."""

    @classmethod
    def looked_at_by(cls, side: int | None) -> "ImageForm":
        """Return the form for a backbone that brings the short side to so many pixels; None if that is not known."""
        return cls(min(max(HALVED_SIDE, side or RESAMPLED_SIDE), MAX_HALVED_TO))

    def final_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return width and height that an image of `size` gets.

        Example:
            >>> HALVED.final_size((4000, 3000)), RESAMPLED.final_size((4000, 3000))
            ((500, 375), (512, 384))
        """
        if self.halved_to is not None:
            factor = _halving(size, self.halved_to)
            return -(-size[0] // factor), -(-size[1] // factor)
        short = min(size)
        if short <= RESAMPLED_SIDE:
            return size
        width, height = (max(1, round(side * RESAMPLED_SIDE / short)) for side in size)
        return width, height

    def factors(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return how many pixels across and down are averaged to one; the rest is resampled, if there is any."""
        if self.halved_to is not None:
            factor = _halving(size, self.halved_to)
            return factor, factor
        final = self.final_size(size)
        across, down = (int(a / b / REDUCING_GAP) or 1 for a, b in zip(size, final, strict=True))
        return across, down

    def draft_scale(self, size: tuple[int, int]) -> int:
        """Return by how much each side of a JPEG shrinks while it is decoded.

        Example:
            >>> HALVED.draft_scale((1000, 750)), RESAMPLED.draft_scale((1000, 750))
            (2, 1)
        """
        if self.halved_to is not None:
            return min(_DRAFT_SCALES[0], _halving(size, self.halved_to))
        return next(
            scale
            for scale in _DRAFT_SCALES
            if min(size) >= scale * RESAMPLED_DRAFT_SIDE or scale == 1
        )

    def write(self, pixels: NDArray[np.uint8]) -> bytes:
        """Encode an image without loss and without metadata: the same pixels give the same bytes.

        Args:
            pixels: `(H, W, 3)`, RGB.
        """
        if self.halved_to is not None:
            return write_png(pixels)
        out = BytesIO()
        Image.fromarray(pixels).save(out, format="PNG", compress_level=1)
        return out.getvalue()


def _halving(size: tuple[int, int], least: int) -> int:
    """Return the power of two that both sides are divided by, so that the short one stays at least so long.

    Sides are rounded up, as decoders of JPEG do: what is halved on the way ends as what is halved afterwards.
    """
    factor = 1
    while -(-min(size) // (2 * factor)) >= least:
        factor *= 2
    return factor


HALVED = ImageForm(HALVED_SIDE)
"""The form of learners whose backbone looks at no more pixels than most do."""
RESAMPLED = ImageForm(None)
"""The form of learners that earlier releases made."""
