"""The one decoder of untrusted images, for learning and for predicting alike.

Whatever comes in leaves as the same canonical image: upright, RGB, 8 bits, transparency on white, the short side at
most 384 pixels. So an image is seen at prediction exactly as it was seen at learning.
"""

import struct
import warnings
import zlib
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from service.http.problems import Problem
from service.intake.png import check_png, png_is_complete, without_profile

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
"""The openers that may run. Everything else Pillow knows (EPS, PSD, FITS ...) has had its holes."""
SHORT_SIDE = 384
"""Canonical short side: the largest input size of the ViTs in common use (timm's `_384`)."""
MIN_SIDE = 8
MAX_SIDE = 12_000
MAX_RATIO = 50
MAX_SCANS = 40
"""A progressive JPEG has about ten. Each is a pass over all pixels (28 ms at 25 MP) and may have 42 bytes."""

_JPEG = b"\xff\xd8"
_START_OF_SCAN = b"\xff\xda"
_MAGIC = (_JPEG, b"\x89PNG", b"RIFF", b"BM", b"GIF8")
_DAMAGE = (
    OSError,
    ValueError,
    SyntaxError,
    struct.error,
    EOFError,
    MemoryError,
    zlib.error,
    IndexError,
    TypeError,
    OverflowError,
)
"""What Pillow's decoders raise on damaged data, with the plain bugs seen in fuzzing."""

ImageFile.LOAD_TRUNCATED_IMAGES = False


@dataclass(frozen=True)
class ImageLimits:
    """How large an image may be before it is decoded."""

    max_bytes: int
    max_pixels: int


@dataclass(frozen=True)
class DecodedImage:
    """A canonical image."""

    pixels: NDArray[np.uint8]
    """`(H, W, 3)`, RGB."""
    warnings: tuple[str, ...] = ()
    """`first_frame_used` or `blank`: what the sender may not expect."""

    @property
    def shows_nothing(self) -> bool:
        """Whether it is of one colour, or was fully transparent: nothing can be learned from it."""
        colour = self.pixels[0, 0]
        # The first row tells most images apart from those, at a fraction of the cost.
        is_plain = bool((self.pixels[0] == colour).all()) and bool((self.pixels == colour).all())
        return is_plain or "blank" in self.warnings

    def to_png(self) -> bytes:
        """Encode without metadata; level 1, since the size hardly changes above it and the time does."""
        out = BytesIO()
        Image.fromarray(self.pixels).save(out, format="PNG", compress_level=1)
        return out.getvalue()


def decode_image(data: bytes, limits: ImageLimits) -> DecodedImage:
    """Decode and normalise one image.

    Memory: about 8 bytes a pixel of the encoded image while it runs. Safe to call from several threads.

    Raises:
        Problem: With an `image-*` code that says what is wrong.
    """
    if not data:
        raise Problem("image-empty")
    if len(data) > limits.max_bytes:
        raise Problem("image-too-large")
    if not data.startswith(_MAGIC):
        # Junk costs next to nothing this way; Pillow would try one opener after the other.
        raise Problem("image-undecodable" if len(data) < 12 else "image-format-unsupported")
    check_png(data, limits.max_pixels)
    if data.startswith(_JPEG) and data.count(_START_OF_SCAN) > MAX_SCANS:
        raise Problem("image-corrupt", "The JPEG has more scans than any encoder makes.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode(data, limits)
    except Image.DecompressionBombError as error:
        raise Problem("image-too-many-pixels") from error
    except UnidentifiedImageError as error:
        raise Problem("image-undecodable") from error
    except _DAMAGE as error:
        raise Problem(_damage_code(error)) from error


def _decode(data: bytes, limits: ImageLimits) -> DecodedImage:
    with Image.open(BytesIO(without_profile(data)), formats=FORMATS) as image:
        _check_size(image.size, limits)
        # Not `n_frames`: to count those of a GIF, Pillow reads all of it.
        notes = ["first_frame_used"] if getattr(image, "is_animated", False) else []
        image.draft("RGB", (2 * SHORT_SIDE, 2 * SHORT_SIDE))
        image.load()
        if image.format == "PNG" and not png_is_complete(data):
            raise Problem("image-truncated")
        upright = ImageOps.exif_transpose(image)
        rgb, is_blank = _to_rgb(upright)
    if is_blank:
        notes.append("blank")
    return DecodedImage(np.asarray(_shrink(rgb), dtype=np.uint8), tuple(notes))


def _check_size(size: tuple[int, int], limits: ImageLimits) -> None:
    short, long = min(size), max(size)
    if short < 1:
        raise Problem("image-undecodable")
    if short * long > limits.max_pixels:
        raise Problem("image-too-many-pixels")
    if long > MAX_SIDE or long > MAX_RATIO * short:
        raise Problem("image-bad-dimensions")
    if short < MIN_SIDE:
        raise Problem("image-too-small")


def _to_rgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """Return the image as RGB on white, and whether every pixel was fully transparent."""
    if image.mode.startswith("I") or image.mode == "F":
        return _scale_to_8_bits(image).convert("RGB"), False
    if not image.has_transparency_data:
        return image.convert("RGB"), False
    rgba = image.convert("RGBA")
    alpha_max = rgba.getchannel("A").getextrema()[1]
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB"), alpha_max == 0


def _scale_to_8_bits(image: Image.Image) -> Image.Image:
    """Map 16 bits to 8. `convert` would clip: 40000 would turn 255 instead of 156."""
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise Problem("image-corrupt")
    return Image.fromarray(np.clip(np.rint(values / 257), 0, 255).astype(np.uint8))


def _shrink(image: Image.Image) -> Image.Image:
    """Bring the short side down to `SHORT_SIDE`; never enlarge."""
    short = min(image.size)
    if short <= SHORT_SIDE:
        return image
    width, height = (max(1, round(side * SHORT_SIDE / short)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def _damage_code(error: BaseException) -> str:
    return "image-truncated" if "truncated" in str(error).lower() else "image-corrupt"
