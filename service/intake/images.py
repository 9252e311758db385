"""The one decoder of untrusted images, for learning and for predicting alike.

Whatever comes in leaves as the same canonical image: upright, RGB, 8 bits, transparency on white, in the size that the
learner's form of images says. So an image is seen at prediction exactly as it was seen at learning.
"""

import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from service.intake.boxes import is_cut_off
from service.intake.detail import BLANK, detail_warning
from service.intake.formats import READ, describe_foreign, detect, display_name
from service.intake.forms import HALVED, ImageForm
from service.intake.heif import HeifPicture
from service.intake.pictures import Picture, PillowPicture
from service.intake.png import check_png
from service.intake.strips import shrink
from service.problems import Problem

MIN_SIDE = 8
MAX_SIDE = 20_000
"""Panoramas of phones have up to 16,384 pixels."""
MAX_RATIO = 50
MAX_DECODE_BYTES = 480_000_000
"""What lets 100 megapixels be read of all formats but those that `docs/photos.md` names."""

FIRST_FRAME = "first_frame_used"

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
    RuntimeError,
)
"""What decoders raise on damaged data, with the plain bugs seen in fuzzing; `RuntimeError` is libheif's."""

Reserve = Callable[[float], AbstractContextManager[None]]
"""Waits until that many bytes may be taken, and takes them."""


@dataclass(frozen=True)
class ImageLimits:
    """How large an image may be before it is decoded."""

    max_bytes: int
    max_pixels: int
    max_decode_bytes: int = MAX_DECODE_BYTES
    """Memory that one image may take while it is decoded."""


@dataclass(frozen=True)
class Weight:
    """What decoding an image takes."""

    work: float
    """See `service.intake.cost`."""
    n_bytes: float
    """Of memory."""


@dataclass(frozen=True)
class DecodedImage:
    """A canonical image."""

    pixels: NDArray[np.uint8]
    """`(H, W, 3)`, RGB."""
    warnings: tuple[str, ...] = ()
    """`first_frame_used`, `blank` or `little_detail`: what the sender may not expect."""
    is_transparent: bool = False
    """Whether every pixel was fully transparent."""
    form: ImageForm = HALVED
    """What made it so large, and writes it."""

    @property
    def shows_nothing(self) -> bool:
        """Whether it is of one colour, or was fully transparent: nothing can be learned from it."""
        colour = self.pixels[0, 0]
        # The first row tells most images apart from those, at a fraction of the cost.
        is_plain = bool((self.pixels[0] == colour).all()) and bool((self.pixels == colour).all())
        return is_plain or self.is_transparent

    def to_png(self) -> bytes:
        """Encode without loss and without metadata."""
        return self.form.write(self.pixels)


def decode_image(
    data: bytes,
    limits: ImageLimits,
    form: ImageForm,
    reserve: Reserve = lambda size_bytes: nullcontext(),
) -> DecodedImage:
    """Decode and normalise one image. Safe to call from several threads.

    Args:
        data: The file.
        limits: What is refused by its header alone.
        form: What it becomes.
        reserve: Entered with the memory that decoding will take, about, while it takes it.

    Raises:
        Problem: With an `image-*` code and a sentence that names the format, the limit and what was found.
    """
    with _told(data, limits) as format:
        return _decode(_open(data, format, limits, form), form, reserve)


def weigh_image(data: bytes, limits: ImageLimits, form: ImageForm) -> Weight:
    """Return what decoding an image costs, by its header alone: within a millisecond or two.

    Raises:
        Problem: If it would be refused by its header.
    """
    with _told(data, limits) as format:
        picture = _open(data, format, limits, form)
        width, height = picture.size
        return Weight(picture.work, width * height * picture.bytes_per_pixel)


@contextmanager
def _told(data: bytes, limits: ImageLimits) -> Iterator[str]:
    """Tell the format of a file, and what goes wrong with it in the block by a problem."""
    if not data:
        raise Problem("image-empty")
    format = detect(data)
    if format is None:
        # Junk costs next to nothing this way; Pillow would try one opener after the other.
        raise _foreign(data)
    name = display_name(format)
    if len(data) > limits.max_bytes:
        raise Problem("image-too-large", _too_large(name, len(data), limits.max_bytes))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield format
    except Image.DecompressionBombError as error:
        raise Problem("image-too-many-pixels") from error
    except UnidentifiedImageError as error:
        raise Problem("image-undecodable", f"It begins as a {name}, but cannot be read.") from error
    except _DAMAGE as error:
        raise _damaged(name, error) from error


def pixel_limit(picture: Picture, limits: ImageLimits) -> int:
    """Return how many pixels such an image may have."""
    return min(limits.max_pixels, int(limits.max_decode_bytes / picture.bytes_per_pixel))


def _open(data: bytes, format: str, limits: ImageLimits, form: ImageForm) -> Picture:
    """Read the header and check what it says."""
    size = check_png(data) if format == "PNG" else None
    if size is not None:
        _check_pixels("PNG", size, limits.max_pixels)
    if format in ("HEIF", "AVIF") and is_cut_off(data):
        raise Problem("image-truncated", f"The {display_name(format)} ends before the image does.")
    picture = HeifPicture(data) if format == "HEIF" else PillowPicture(data, format, form)
    _check_size(picture, limits)
    return picture


def _decode(picture: Picture, form: ImageForm, reserve: Reserve) -> DecodedImage:
    width, height = picture.size
    with reserve(width * height * picture.bytes_per_pixel):
        source, to_rgb = picture.load()
        image = picture.turn(shrink(source, to_rgb, form))
    warning = BLANK if to_rgb.is_transparent else detail_warning(image)
    notes = (FIRST_FRAME if picture.has_more else None, warning)
    return DecodedImage(
        np.asarray(image, dtype=np.uint8),
        tuple(note for note in notes if note is not None),
        to_rgb.is_transparent,
        form,
    )


def _foreign(data: bytes) -> Problem:
    if len(data) < 12:
        return Problem("image-undecodable")
    format_name = describe_foreign(data)
    what = f"The file is {format_name}" if format_name else "The format of the file is not known"
    return Problem("image-format-unsupported", f"{what}. Send {READ}.")


def _check_size(picture: Picture, limits: ImageLimits) -> None:
    short, long = min(picture.size), max(picture.size)
    if short < 1:
        raise Problem("image-undecodable", f"The {picture.name} has no pixels.")
    _check_pixels(picture.kind, picture.size, pixel_limit(picture, limits))
    if long > MAX_SIDE or long > MAX_RATIO * short:
        raise Problem(
            "image-bad-dimensions",
            f"The {picture.name} has {_sides(picture.size)} pixels: a side may have {MAX_SIDE:,}, and the longer one "
            f"{MAX_RATIO} times the shorter.",
        )
    if short < MIN_SIDE:
        raise Problem(
            "image-too-small",
            f"The {picture.name} has {_sides(picture.size)} pixels: each side needs at least {MIN_SIDE}.",
        )


def _check_pixels(kind: str, size: tuple[int, int], most: int) -> None:
    n_pixels = size[0] * size[1]
    if n_pixels > most:
        raise Problem(
            "image-too-many-pixels",
            f"The {kind} has {_megapixels(n_pixels, up=True)} megapixels ({_sides(size)}): at most "
            f"{_megapixels(most)} are read.",
        )


def _sides(size: tuple[int, int]) -> str:
    return f"{size[0]:,} x {size[1]:,}"


def _megapixels(n_pixels: int, *, up: bool = False) -> str:
    """Return in tenths of a megapixel, a limit rounded down and what is beyond it up, so that the two differ."""
    tenths = -(-n_pixels // 100_000) if up else n_pixels // 100_000
    return f"{tenths / 10:,g}" if tenths < 10_000 else f"{tenths // 10:,}"


def _too_large(name: str, size_bytes: int, most: int) -> str:
    mib = 1024 * 1024
    size_mib = -(-10 * size_bytes // mib) / 10
    return f"The {name} has {size_mib:,g} MiB: at most {10 * most // mib / 10:,g} are read."


def _damaged(name: str, error: BaseException) -> Problem:
    if "truncated" in str(error).lower():
        return Problem("image-truncated", f"The {name} ends before the image does.")
    return Problem("image-corrupt", f"The data of the {name} are damaged.")
