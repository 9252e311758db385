"""What it costs to decode an image, told by its header and its number of bytes before anything is decoded.

The unit is a pixel of a plain PNG in RGB: 17 ns on the machine of decision 0026, where the factors were measured. Files
of one format differ by what is on them; their bytes tell most of that, and the rest is within a factor of two.
"""

from PIL import Image

from service.intake.jpeg import JpegStructure

UNIT_S = 20e-9
"""Seconds that a unit takes, about, until the threads have measured it."""
BASE_WORK = 50_000.0
"""What any image costs: opening it, looking at what it shows, keeping it."""
LIGHT_WORK = 4_000_000.0
"""What an image costs at most that is decoded without standing back for others: a photo of 12 megapixels as JPEG."""

_PIXEL = {"PNG": 1.0, "WEBP": 1.1, "AVIF": 1.0, "GIF": 0.5, "BMP": 0.4}
_BYTE = {"PNG": 0.6, "WEBP": 2.0, "AVIF": 4.5, "GIF": 0.5, "BMP": 0.1}
_NARROW = {"1": 0.5, "L": 0.5, "P": 0.6}
"""What is left of a pixel's cost where it takes one byte in memory."""
_SEE_THROUGH = 2.0
"""Pixels with transparency are laid on white, by twice the work of decoding them."""
_DEEP = 3.0
"""A PNG in 16-bit colour may be decoded twice."""
_HEIF_PIXEL, _HEIF_BYTE = 1.3, 6.0
_JPEG_PIXEL, _JPEG_BYTE = 1.0, 0.6
_REDUCED_PIXEL = 0.12
"""A pixel of a JPEG that is decoded at reduced size."""
_SCAN_PIXEL, _SCANNED_BYTE = 0.06, 3.0
"""A pixel of a JPEG in several scans, for each of them, and a byte."""


def pillow_work(image: Image.Image, format: str, n_bytes: int, *, is_deep: bool) -> float:
    """Return what decoding costs of an image that Pillow has opened, JPEG excepted."""
    factor = _PIXEL[format]
    if is_deep:
        factor *= _DEEP
    elif image.has_transparency_data and format == "PNG":
        factor *= _SEE_THROUGH
    else:
        factor *= _NARROW.get(image.mode, 1.0)
    return BASE_WORK + factor * _n_pixels(image.size) + _BYTE[format] * n_bytes


def jpeg_work(size: tuple[int, int], n_bytes: int, structure: JpegStructure, scale: int) -> float:
    """Return what decoding costs of a JPEG whose sides become shorter by `scale` on the way."""
    pixel = _REDUCED_PIXEL if scale > 1 else _JPEG_PIXEL
    byte = _JPEG_BYTE
    if structure.is_buffered:
        pixel += _SCAN_PIXEL * max(1, structure.n_scans)
        byte = _SCANNED_BYTE
    return BASE_WORK + pixel * _n_pixels(size) + byte * n_bytes


def heif_work(size: tuple[int, int], n_bytes: int) -> float:
    """Return what decoding costs of a HEIC."""
    return BASE_WORK + _HEIF_PIXEL * _n_pixels(size) + _HEIF_BYTE * n_bytes


def _n_pixels(size: tuple[int, int]) -> int:
    return size[0] * size[1]
