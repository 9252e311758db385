"""PNGs with 16 bits a colour, of which Pillow gives the upper eight: 12 bits in 16 would be near black.

Pillow's decoder is run a second time for the lower eight, by naming the other byte order for the same rows.
"""

from io import BytesIO
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.intake.colour import significant_bits
from service.intake.png import without_profile
from service.intake.strips import STRIP_PIXELS, Source

_DEPTH_AT, _COLOUR_AT = 24, 25
_RGB, _GREY_ALPHA, _RGBA = 2, 4, 6
_LOWER = {_RGB: "RGB;16L", _RGBA: "RGBA;16L"}
_ALL_IN_UPPER = 64
"""From this upper byte on, a value needs all sixteen bits, and the lower byte is below what eight bits show."""


def is_deep(data: bytes) -> bool:
    """Return whether a PNG has 16 bits and several channels; grey alone Pillow reads in full."""
    return data[_DEPTH_AT] == 16 and data[_COLOUR_AT] in (_RGB, _GREY_ALPHA, _RGBA)


def deep_source(image: Image.Image, data: bytes, declared_bits: int | None) -> Source | None:
    """Return the image scaled by the bits that its values have; None if the upper bytes are all there is to see.

    Args:
        image: The loaded image of upper bytes, `RGB` or `RGBA`.
        data: The file.
        declared_bits: What its `sBIT` chunk says.
    """
    extrema = cast("tuple[tuple[int, int], ...]", image.getextrema())
    peak = max(high for _, high in extrema[:3])
    if peak >= _ALL_IN_UPPER or (declared_bits or 0) > 14:
        return None
    colour = data[_COLOUR_AT]
    lower = _other_bytes(data, _LOWER.get(colour, "RGBA"))

    def read(top: int, bottom: int) -> NDArray[np.uint16]:
        box = (0, top, image.width, bottom)
        low = np.asarray(lower.crop(box))
        if colour == _GREY_ALPHA:  # upper and lower byte of grey, then of alpha
            return _joined(low[..., ::2], low[..., 1::2])
        return _joined(np.asarray(image.crop(box)), low)

    n_colours = 1 if colour == _GREY_ALPHA else 3
    step = max(1, STRIP_PIXELS // image.width)
    tops = range(0, image.height, step)
    peaks = [read(top, min(top + step, image.height)).max(axis=(0, 1)) for top in tops]
    highest = np.max(peaks, axis=0)
    bits = significant_bits(int(highest[:n_colours].max()), declared_bits)
    alpha_bits = significant_bits(int(highest[n_colours:].max(initial=0)), declared_bits)
    scales = np.array([2**bits - 1] * n_colours + [2**alpha_bits - 1] * (len(highest) - n_colours))

    def scaled(top: int, bottom: int) -> Image.Image:
        values = np.rint(read(top, bottom) / (scales / 255)).astype(np.uint8)
        return Image.fromarray(values)

    return Source(image.size, scaled)


def _joined(upper: NDArray[np.uint8], lower: NDArray[np.uint8]) -> NDArray[np.uint16]:
    values = np.empty(upper.shape, dtype=np.uint16)
    np.multiply(upper, 256, out=values, dtype=np.uint16)
    values += lower
    return values


def _other_bytes(data: bytes, raw_mode: str) -> Image.Image:
    image = Image.open(BytesIO(without_profile(data)), formats=("PNG",))
    image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
    if raw_mode == "RGBA":
        image._mode = "RGBA"
    image.load()
    return image
