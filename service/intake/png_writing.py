"""Writing a PNG nine times as fast as Pillow does, in about as many bytes, and without holding the interpreter's lock.

Pillow tries five filters for each row and takes 20 ms for a photo of 500 x 375 pixels, as long as decoding, learning
and answering it take together. Here each row is told by its differences to the one above, which is as short for
photographs, and compressed by Intel's library.
"""

import struct
import zlib

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from service.intake.png import SIGNATURE

LEVEL = 1
"""2.4 ms for such a photo. Level 0 saves 0.3 of them and takes a third more bytes; 2 changes neither."""
_UP = 2
"""Filter by which a byte is told by its difference to the one above (PNG specification, 9.2)."""
_RGB_OF_8_BITS = (8, 2, 0, 0, 0)
"""Depth, colour type, compression, filtering, interlacing."""


def write_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return an image as a PNG without metadata.

    Args:
        pixels: `(H, W, 3)`, RGB.
    """
    height, width, channels = pixels.shape
    rows = pixels.reshape(height, width * channels)
    filtered = np.empty((height, 1 + width * channels), dtype=np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, *_RGB_OF_8_BITS)
    data = isal_zlib.compress(filtered, LEVEL)
    chunks = (b"IHDR", header), (b"IDAT", data), (b"IEND", b"")
    return SIGNATURE + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))
