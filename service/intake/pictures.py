"""An image that is opened but not decoded yet: what its header says, and how to decode it in strips."""

from abc import ABC, abstractmethod
from io import BytesIO

from PIL import AvifImagePlugin, Image, ImageFile

from service.intake.colour import ToRgb
from service.intake.cost import jpeg_work, pillow_work
from service.intake.deep_png import deep_source, is_deep
from service.intake.formats import display_name
from service.intake.forms import ImageForm
from service.intake.jpeg import JpegStructure, read_structure
from service.intake.png import png_is_complete, significant_png_bits, without_profile
from service.intake.strips import Source, image_source
from service.problems import Problem

_OPENERS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP")
"""The openers that may run. Everything else Pillow knows (EPS, PSD, FITS ...) has had its holes."""
_DECODER_BYTES = {"WEBP": 12.0, "AVIF": 5.6}
"""What a decoder holds a pixel beside Pillow's own pixels; measured (decision 0017)."""
_ALPHA_BYTES = 2.0
"""What it holds besides if there is transparency."""
_STORED_BYTES = {"1": 1.0, "L": 1.0, "P": 1.0, "I;16": 2.0}
"""Bytes a pixel takes in memory by its mode, where these are not four."""
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How an image is turned upright, by its EXIF orientation."""

ImageFile.LOAD_TRUNCATED_IMAGES = False
AvifImagePlugin.DEFAULT_MAX_THREADS = 1


class Picture(ABC):
    """An opened image."""

    name: str
    """What people call its format."""
    kind: str
    """The same, more closely where that decides how large it may be: `progressive JPEG`."""
    size: tuple[int, int]
    """Width and height as stored, before it is turned upright."""
    bytes_per_pixel: float
    """Memory that decoding takes."""
    work: float
    """What decoding costs; see `service.intake.cost`."""
    has_more: bool = False
    """Whether the file holds further images, which are not looked at."""

    @abstractmethod
    def load(self) -> tuple[Source, ToRgb]:
        """Decode. Raises what decoders raise on damaged data."""

    def turn(self, image: Image.Image) -> Image.Image:
        """Return the shrunken image upright; call it after `load`."""
        return image


class PillowPicture(Picture):
    """An image that Pillow reads itself."""

    def __init__(self, data: bytes, format: str, form: ImageForm) -> None:
        """Read the header.

        Args:
            data: The file.
            format: What it begins as.
            form: What it is to become: a JPEG is decoded no larger than that needs.

        Raises:
            Problem: If it is damaged.
        """
        self._data = data
        structure = _jpeg_structure(data) if format == "JPEG" else None
        self._image = Image.open(BytesIO(without_profile(data)), formats=_OPENERS)
        self.size = self._image.size
        self.name = self.kind = display_name(self._image.format or format)
        self._is_deep = format == "PNG" and is_deep(data)
        # Not `n_frames`: to count those of a GIF, Pillow reads all of it.
        self.has_more = bool(getattr(self._image, "is_animated", False))
        stored = _STORED_BYTES.get(self._image.mode, 4.0)
        self.bytes_per_pixel = stored + _DECODER_BYTES.get(format, 0.0)
        if format in _DECODER_BYTES and self._image.mode == "RGBA":
            self.bytes_per_pixel += _ALPHA_BYTES
        if structure is not None:
            self._plan_jpeg(structure, stored, form)
            self.work = jpeg_work(self.size, len(data), structure, self._scale)
            return
        self.work = pillow_work(self._image, format, len(data), is_deep=self._is_deep)
        if self._is_deep:
            self.kind = "PNG with 16 bits a colour"
            self.bytes_per_pixel = 2 * stored

    def _plan_jpeg(self, structure: JpegStructure, stored: float, form: ImageForm) -> None:
        self._scale = 1 if structure.is_lossless else form.draft_scale(self.size)
        self.bytes_per_pixel = stored / self._scale**2 + structure.buffer_bytes_per_pixel
        if structure.is_buffered:
            self.kind = "progressive JPEG"
        if self._scale > 1:
            width, height = self.size
            self._image.draft(None, (width // self._scale, height // self._scale))

    def load(self) -> tuple[Source, ToRgb]:
        """Decode, a JPEG at the size that is needed."""
        image = self._image
        image.load()
        if self.name != "PNG":
            return image_source(image), ToRgb(image)
        if not png_is_complete(self._data):
            raise Problem("image-truncated", "The PNG ends before the image does.")
        declared_bits = significant_png_bits(self._data)
        deep = deep_source(image, self._data, declared_bits) if self._is_deep else None
        return deep or image_source(image), ToRgb(image, declared_bits=declared_bits)

    def turn(self, image: Image.Image) -> Image.Image:
        """Turn it as its EXIF says."""
        turn = _TURNS.get(self._image.getexif().get(_ORIENTATION, 1))
        return image if turn is None else image.transpose(turn)


def _jpeg_structure(data: bytes) -> JpegStructure:
    structure = read_structure(data)
    if not structure.is_plausible:
        raise Problem(
            "image-corrupt", "The JPEG has more scans or segments than any encoder makes."
        )
    return structure
