"""From whatever a decoder gives to RGB on white.

Colours are those that Pillow gives, with one exception: a CMYK image is converted by the profile it carries. Numbers of
RGB images are taken as they are, also where a profile says Display P3 (see decision 0017).
"""

from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import cast

import numpy as np
from PIL import Image, ImageCms

from service.problems import Problem

MAX_PROFILE_BYTES = 4 * 1024 * 1024
"""Profiles of presses have 0.5 to 3 MB."""
_DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras, scanners and microscopes store in 16."""
_WHITE = (255, 255, 255, 255)


class ToRgb:
    """Converts an image to RGB, one strip after the other."""

    def __init__(self, image: Image.Image, *, declared_bits: int | None = None) -> None:
        """Look at the whole image, once: what its values reach, and which profile it carries.

        Args:
            image: A loaded image.
            declared_bits: Significant bits of its values, if its file says so.
        """
        is_deep = image.mode.startswith("I") or image.mode == "F"
        # A transparent value of a grey image with 16 bits is taken as any other.
        self._may_be_transparent = image.has_transparency_data and not is_deep
        self.is_transparent = self._may_be_transparent
        """Whether every pixel of the strips so far was fully transparent."""
        self._convert = (
            partial(_scale_to_8_bits, peak=_peak(image, declared_bits))
            if is_deep
            else _converter(image)
        )

    def __call__(self, strip: Image.Image) -> Image.Image:
        """Return a part of the image as RGB, transparency on white."""
        if not self._may_be_transparent:
            return self._convert(strip)
        rgba = strip.convert("RGBA")
        if self.is_transparent and rgba.getchannel("A").getextrema()[1]:
            self.is_transparent = False
        white = Image.new("RGBA", rgba.size, _WHITE)
        return Image.alpha_composite(white, rgba).convert("RGB")


def significant_bits(peak: int, declared: int | None = None) -> int:
    """Return how many bits 16-bit values really have: the fewest in use that hold the largest one.

    Args:
        peak: The largest value.
        declared: Bits that the file declares; it has at least these.

    Example:
        >>> significant_bits(4095), significant_bits(40_000), significant_bits(900, 16)
        (12, 16, 16)
    """
    return next(
        (bits for bits in _DEPTHS if bits >= (declared or 0) and peak < 2**bits), _DEPTHS[-1]
    )


def _converter(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    by_profile = _by_profile(image.info.get("icc_profile")) if image.mode == "CMYK" else None
    return by_profile or _plainly


def _plainly(strip: Image.Image) -> Image.Image:
    return strip if strip.mode == "RGB" else strip.convert("RGB")


def _peak(image: Image.Image, declared_bits: int | None) -> int:
    low, high = cast("tuple[float, float]", image.getextrema())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise Problem("image-corrupt")
    return int(2 ** significant_bits(int(high), declared_bits)) - 1


def _scale_to_8_bits(strip: Image.Image, *, peak: int) -> Image.Image:
    """Map 16 bits to 8. `convert` would clip: 40000 would turn 255 instead of 156."""
    values = np.asarray(strip, dtype=np.float64)
    if not np.isfinite(values).all():
        raise Problem("image-corrupt")
    scaled = np.clip(np.rint(values / (peak / 255)), 0, 255).astype(np.uint8)
    return Image.fromarray(scaled).convert("RGB")


def _by_profile(profile: bytes | None) -> Callable[[Image.Image], Image.Image] | None:
    """Return the conversion by a CMYK profile; None if there is none that can be used."""
    if not profile or len(profile) > MAX_PROFILE_BYTES or profile[16:20] != b"CMYK":
        return None
    try:
        transform = ImageCms.buildTransform(
            ImageCms.getOpenProfile(BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            "CMYK",
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return partial(_transform, transform=transform)


def _transform(strip: Image.Image, *, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(strip, transform)
    if converted is None:
        raise Problem("image-corrupt")
    return converted
