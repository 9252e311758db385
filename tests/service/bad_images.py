"""Images nobody should send, made on the fly, with the problem each must answer."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pillow_heif
from PIL import Image

from tests.factories import make_image, make_pixels


def png_of(width: int, height: int, rows: int | None = None) -> bytes:
    """Return a grey PNG that declares `height` rows and holds `rows` of them."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    held = min(height, 64) if rows is None else rows
    data = zlib.compress(b"".join(b"\0" + bytes(min(width, 4096)) for _ in range(held)))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND")


def _chunk(kind: bytes, data: bytes = b"") -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def noise(size: int = 64) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _bad_crc() -> bytes:
    data = bytearray(make_image())
    data[29] ^= 0xFF
    return bytes(data)


def _damaged_data() -> bytes:
    data = bytearray(encoded(noise(), "PNG"))
    data[len(data) // 2] ^= 0xFF
    return bytes(data)


def _flipped_jpeg() -> bytes:
    data = bytearray(encoded(noise(256), "JPEG", progressive=True))
    for at in range(700, len(data) - 50, 97):
        data[at] = 0xFF
    return bytes(data)


def png_with(kind: bytes, data: bytes) -> bytes:
    """Return a good PNG with one more chunk behind its header."""
    plain = make_image()
    return plain[:33] + _chunk(kind, data) + plain[33:]


BOMB = zlib.compress(bytes(200_000_000), 9)
"""200 MB of zeros."""


def _text_bomb() -> bytes:
    return png_with(b"zTXt", b"Comment\0\0" + BOMB)


def _jpeg_of_many_scans() -> bytes:
    """A progressive JPEG whose last scan, of a few bytes, comes a thousand times: each would cost a whole pass."""
    whole = encoded(noise(), "JPEG", progressive=True)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + 1000 * last + whole[-2:]


def _webp_of(width: int, height: int) -> bytes:
    """Return a lossless WebP that declares a size and holds nothing."""
    bits = (width - 1) | (height - 1) << 14
    chunk = b"\x2f" + struct.pack("<I", bits) + bytes(27)
    body = b"WEBPVP8L" + struct.pack("<I", len(chunk)) + chunk
    return b"RIFF" + struct.pack("<I", len(body)) + body


def heic(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, **options)
    return buffer.getvalue()


JPEG = encoded(noise(256), "JPEG")
HEIC = heic(noise(256))
AVIF = encoded(noise(256), "AVIF", speed=10)

REFUSED = {
    "zero bytes": (b"", "image-empty"),
    "one byte": (b"\xff", "image-undecodable"),
    "text": (b"just some text, long enough to be sniffed", "image-format-unsupported"),
    "html": (b"<!doctype html><script>alert(1)</script>", "image-format-unsupported"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image-format-unsupported"),
    "pdf": (b"%PDF-1.7 " + bytes(100), "image-format-unsupported"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image-format-unsupported"),
    "heic header only": (b"\0\0\0\x18ftypheic" + bytes(40), "image-undecodable"),
    "avif header only": (b"\0\0\0\x1cftypavif" + bytes(40), "image-undecodable"),
    "heic cut in half": (HEIC[: len(HEIC) // 2], "image-truncated"),
    "avif cut in half": (AVIF[: len(AVIF) // 2], "image-truncated"),
    "video": (b"\0\0\0\x18ftypmp42" + bytes(40), "image-format-unsupported"),
    "tiff": (encoded(noise(), "TIFF"), "image-format-unsupported"),
    "ico": (encoded(noise(), "ICO"), "image-format-unsupported"),
    "jpeg 2000": (encoded(noise(), "JPEG2000"), "image-format-unsupported"),
    "jpeg cut in half": (JPEG[: len(JPEG) // 2], "image-truncated"),
    "jpeg without its end": (JPEG[:-2], "image-truncated"),
    "jpeg header only": (JPEG[:20], "image-undecodable"),
    "jpeg with flipped bits": (_flipped_jpeg(), "image-corrupt"),
    "jpeg of 1,000 scans": (_jpeg_of_many_scans(), "image-corrupt"),
    "png with a bad checksum": (_bad_crc(), "image-corrupt"),
    "png with damaged data": (_damaged_data(), "image-corrupt"),
    "png with missing rows": (png_of(256, 256, rows=100), "image-truncated"),
    "png 0 x 0": (png_of(0, 0), "image-undecodable"),
    "png 60,000 x 60,000": (png_of(60_000, 60_000), "image-too-many-pixels"),
    "png 12,000 x 12,000": (png_of(12_000, 12_000), "image-too-many-pixels"),
    "png 9,000 x 9,000 with 64 rows": (png_of(9_000, 9_000), "image-truncated"),
    "webp of 36 megapixels": (_webp_of(6000, 6000), "image-too-many-pixels"),
    "png 4294967295 x 1": (png_of(4_294_967_295, 1), "image-too-many-pixels"),
    "png 1 x 100,000": (png_of(1, 100_000), "image-bad-dimensions"),
    "png 1 x 1": (png_of(1, 1), "image-too-small"),
    "png text bomb": (_text_bomb(), "image-corrupt"),
    "png text bomb in UTF-8": (
        png_with(b"iTXt", b"Comment\0\1\0\0\0" + BOMB),
        "image-corrupt",
    ),
    "48 MiB and a bit": (JPEG + bytes(48 * 1024 * 1024), "image-too-large"),
}


def _polyglot() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("x.txt", "x")
    return JPEG + archive.getvalue()


def _motion_photo() -> bytes:
    """Return a JPEG with a video behind it, whose data hold the two bytes that begin a scan many times."""
    return JPEG + b"\0\0\0\x18ftypmp42" + bytes(12) + b"\xff\xda" * 500


def animated(format: str, n: int = 20) -> bytes:
    """Return an animation of n frames: at most twenty different ones, over and over."""
    frames = [Image.fromarray(make_pixels(index=i)) for i in range(min(n, 20))]
    if format == "GIF":
        # Here once each, and not again whenever one comes.
        frames = [frame.quantize() for frame in frames]
    shown = [frames[i % len(frames)] for i in range(n)]
    return encoded(shown[0], format, save_all=True, append_images=shown[1:])


def _palette() -> bytes:
    return encoded(noise().convert("P"), "PNG", transparency=0)


ACCEPTED = {
    "jpeg": JPEG,
    "webp": encoded(noise(), "WEBP"),
    "heic": HEIC,
    "avif": AVIF,
    "mpo": encoded(noise(), "MPO", save_all=True, append_images=[noise(128)]),
    "motion photo": _motion_photo(),
    "bmp": encoded(noise(), "BMP"),
    "animated gif": animated("GIF"),
    "animated webp": animated("WEBP"),
    "animated png": animated("PNG"),
    "cmyk jpeg": encoded(noise().convert("CMYK"), "JPEG"),
    "grey": encoded(noise().convert("L"), "PNG"),
    "16-bit grey": encoded(Image.fromarray(np.full((32, 32), 40_000, np.uint16)), "PNG"),
    "palette with transparency": _palette(),
    "colour profile bomb": png_with(b"iCCP", b"x\0\0" + BOMB),
    "bogus colour profile": encoded(noise(), "JPEG", icc_profile=b"x" * 5000),
    "bogus cmyk profile": encoded(
        noise().convert("CMYK"), "JPEG", icc_profile=bytes(16) + b"CMYK" + b"x" * 5000
    ),
    "corrupt exif": encoded(noise(), "JPEG", exif=b"Exif\0\0" + b"\xff" * 50),
    "jpeg with a zip behind it": _polyglot(),
    "one colour": encoded(Image.new("RGB", (32, 32), "red"), "PNG"),
}
