"""HEIC, the format of iPhones: read through libheif without a copy of the decoded image.

Used as a library, not as a plugin: nothing is registered with Pillow. Each image has its own context in libheif, which
is what its authors ask for where several threads decode.
"""

from typing import cast

import pillow_heif
from PIL import Image, UnidentifiedImageError
from pillow_heif import options

from service.intake.colour import ToRgb
from service.intake.cost import heif_work
from service.intake.pictures import Picture
from service.intake.strips import Source

_YUV_BYTES = 1.8
"""What libheif holds a pixel beside the pixels that it gives; measured, like the next two, with colour at a quarter of
the resolution."""
_ALPHA_BYTES = 3.9
"""The same with transparency."""
_DEEP_BYTES = 5.2
"""The same with 10 or 12 bits a colour."""

options.DECODE_THREADS = 0
options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False


class HeifPicture(Picture):
    """The main image of a HEIC file."""

    name = kind = "HEIC"

    def __init__(self, data: bytes) -> None:
        """Read the header.

        Raises:
            UnidentifiedImageError: If it is damaged.
        """
        try:
            file = pillow_heif.open_heif(data, remove_stride=False)
            self._image = file[file.primary_index]
        except (OSError, ValueError, SyntaxError, RuntimeError, EOFError, IndexError) as error:
            raise UnidentifiedImageError from error
        self.size = self._image.size
        self.work = heif_work(self.size, len(data))
        self.has_more = len(file) > 1
        is_deep = cast("int", self._image.info["bit_depth"]) > 8
        beside = _ALPHA_BYTES if self._image.has_alpha else _YUV_BYTES
        self.bytes_per_pixel = len(self._image.mode) + (_DEEP_BYTES if is_deep else beside)

    def load(self) -> tuple[Source, ToRgb]:
        """Decode. The size that was checked is the size that comes: libheif refuses any other.

        What is grey with more than 8 bits comes scaled to 16.
        """
        image = self._image
        data, mode, stride, (width, height) = image.data, image.mode, image.stride, image.size

        def read(top: int, bottom: int) -> Image.Image:
            rows = data[top * stride : bottom * stride]
            return Image.frombytes(mode, (width, bottom - top), rows, "raw", mode, stride)

        return Source((width, height), read), ToRgb(Image.new(mode, (1, 1)), declared_bits=16)
