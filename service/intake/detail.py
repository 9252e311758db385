"""Whether an image shows anything: one colour, or next to nothing but one."""

from collections.abc import Sequence

from PIL import Image

BLANK = "blank"
LITTLE_DETAIL = "little_detail"

_SPREAD = 32
"""Levels of 256 within which nearly all pixels of an image of little detail lie, in each channel. Of 12,737 photos and
drawn digits none is below 37; a lens cap and a plain wall are at 8 to 25."""
_OUTSIDE = 0.005
"""Share of pixels left out at either end: dead pixels and a bright edge are no detail."""


def detail_warning(image: Image.Image) -> str | None:
    """Return `blank` for an RGB image of one colour, `little_detail` for one of nearly one, otherwise None."""
    if _shows_enough(image):
        return None
    counts = image.histogram()
    channels = [counts[at : at + 256] for at in range(0, len(counts), 256)]
    n_pixels = image.width * image.height
    if all(max(channel) == n_pixels for channel in channels):
        return BLANK
    left_out = _OUTSIDE * n_pixels
    return LITTLE_DETAIL if all(_spread(c, left_out) < _SPREAD for c in channels) else None


def _shows_enough(image: Image.Image) -> bool:
    """Return whether a band in the middle spreads over enough levels: the whole image spreads over no fewer."""
    top, rows = image.height * 7 // 16, -(-image.height // 8)
    counts = image.crop((0, top, image.width, top + rows)).histogram()
    left_out = _OUTSIDE * image.width * image.height
    return any(_spread(counts[at : at + 256], left_out) >= _SPREAD for at in range(0, 768, 256))


def _spread(counts: Sequence[int], left_out: float) -> int:
    """Return how many levels lie between the darkest and the brightest pixels that count."""
    return 255 - _n_empty(counts, left_out) - _n_empty(counts[::-1], left_out)


def _n_empty(counts: Sequence[int], left_out: float) -> int:
    """Return how many levels hold at most `left_out` pixels together, from the first on."""
    passed = 0
    for level, count in enumerate(counts):
        passed += count
        if passed > left_out:
            return level
    return len(counts) - 1
