"""Bringing a large image down without a second copy of it: one strip after the other is converted and averaged.

Gives the very pixels that converting and resizing the whole image gives.
"""

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from service.intake.colour import ToRgb
from service.intake.forms import ImageForm

STRIP_PIXELS = 1_000_000
_WHOLE_PIXELS = 4 * STRIP_PIXELS
"""Up to here an image that is not averaged is converted in one go, which is faster."""


@dataclass(frozen=True)
class Source:
    """A decoded image that is read in strips."""

    size: tuple[int, int]
    read: Callable[[int, int], Image.Image]
    """Rows from the first number up to, without, the second."""


def image_source(image: Image.Image) -> Source:
    """Read from a loaded image."""
    whole = (0, image.height)

    def read(top: int, bottom: int) -> Image.Image:
        return image if (top, bottom) == whole else image.crop((0, top, image.width, bottom))

    return Source(image.size, read)


def shrink(source: Source, to_rgb: ToRgb, form: ImageForm) -> Image.Image:
    """Return the image as RGB in the size that its form says; never enlarged."""
    size, factors = form.final_size(source.size), form.factors(source.size)
    reduced = _average(source, factors, to_rgb)
    if reduced.size == size:
        return reduced
    right, bottom = (side / factor for side, factor in zip(source.size, factors, strict=True))
    return reduced.resize(size, Image.Resampling.LANCZOS, box=(0, 0, right, bottom))


def _average(source: Source, factors: tuple[int, int], to_rgb: ToRgb) -> Image.Image:
    (width, height), (across, down) = source.size, factors
    if factors == (1, 1) and width * height <= _WHOLE_PIXELS:
        return to_rgb(source.read(0, height))
    reduced = Image.new("RGB", (-(-width // across), -(-height // down)))
    step = down * max(1, STRIP_PIXELS // (width * down))
    for top in range(0, height, step):
        strip = to_rgb(source.read(top, min(top + step, height)))
        part = strip.reduce(factors) if factors != (1, 1) else strip
        reduced.paste(part, (0, top // down))
    return reduced
