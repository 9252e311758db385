"""Which image formats are read, and what else a file is: a refusal names what came."""

import codecs
import re
from collections.abc import Iterator

READ = "JPEG, PNG, WebP, HEIC, AVIF, GIF or BMP"
"""The formats that are read, in words."""
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "HEIF", "AVIF", "GIF", "BMP")
"""The formats that are read, by Pillow's names. A file of several JPEGs is MPO."""
NAMES = {"WEBP": "WebP", "HEIF": "HEIC", "MPO": "JPEG"}
"""What people call a format, where that is not Pillow's name."""

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AVIF_BRANDS = {b"avif", b"avis"}
_SHARED_BRANDS = {b"mif1", b"mif2", b"msf1", b"miaf"}
"""Containers of either: the compatible brands tell."""
_MAX_BRANDS = 64

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (8, b"CR\x02\0", "a raw file of a Canon camera (CR2)"),
    (0, b"FUJIFILMCCD-RAW", "a raw file of a Fujifilm camera (RAF)"),
    (0, b"IIRO", "a raw file of an Olympus camera (ORF)"),
    (0, b"IIRS", "a raw file of an Olympus camera (ORF)"),
    (0, b"IIU\0", "a raw file of a Panasonic camera (RW2)"),
    (0, b"FOVb", "a raw file of a Sigma camera (X3F)"),
    (0, b"II\xbc\x01", "a JPEG XR"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (0, b"8BPS", "a Photoshop file (PSD)"),
    (0, b"gimp xcf", "a GIMP file (XCF)"),
    (0, b"%PDF", "a PDF"),
    (0, b"%!PS", "PostScript (EPS)"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript (EPS)"),
    (0, b"\0\0\x01\0", "an icon (ICO)"),
    (0, b"\0\0\x02\0", "a cursor (CUR)"),
    (0, b"icns", "an icon (ICNS)"),
    (0, b"SIMPLE  =", "a FITS file"),
    (128, b"DICM", "a DICOM file"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"\x93NUMPY", "a NumPy file"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR"),
    (0, b"#?RADIANCE", "a Radiance picture (HDR)"),
    (0, b"qoif", "a QOI"),
    (0, b"DDS ", "a DDS texture"),
    (0, b"\xd7\xcd\xc6\x9a", "a Windows metafile (WMF)"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"PK\x05\x06", "a zip archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xfd7zXZ", "an xz archive"),
    (0, b"7z\xbc\xaf", "a 7-Zip archive"),
    (0, b"Rar!", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"\0\x05\x16\x07", "a file that macOS makes beside a photo (._*)"),
    (0, b"Bud1", "a file that macOS makes in folders (.DS_Store)"),
    (4, b"Bud1", "a file that macOS makes in folders (.DS_Store)"),
    (0, b"\x1aE\xdf\xa3", "a video (Matroska or WebM)"),
    (0, b"OggS", "a video or sound (Ogg)"),
    (0, b"FLV", "a video (Flash)"),
    (0, b"version https://git-lfs", "a pointer of Git LFS, not the image: run `git lfs pull`"),
)
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_RIFF = {b"AVI ": "a video (AVI)", b"WAVE": "a sound (WAV)"}
_PNM = re.compile(rb"P[1-7][\s#]")
_SVG = re.compile(rb"<svg[\s>]", re.IGNORECASE)
_HTML = re.compile(rb"<(!doctype html|html|head|body|script)[\s>]", re.IGNORECASE)
_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
_HEAD = 2048
"""Bytes that are looked at."""


def detect(data: bytes) -> str | None:
    """Return which of `FORMATS` the first bytes are, by Pillow's name; None for anything else.

    Example:
        >>> detect(b"GIF89a"), detect(b"%PDF-1.7")
        ('GIF', None)
    """
    if data.startswith(b"\xff\xd8"):
        return "JPEG"
    if data.startswith(b"\x89PNG"):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] not in _RIFF:
        return "WEBP"
    if data.startswith(b"BM"):
        return "BMP"
    if data.startswith(b"GIF8"):
        return "GIF"
    return _of_brands(data) if data[4:8] == b"ftyp" else None


def display_name(format: str) -> str:
    """Return what people call a format of Pillow's."""
    return NAMES.get(format, format)


def describe_foreign(data: bytes) -> str:
    """Return in words what a file is that is no image we read: `a PDF`; the empty string if nothing is known of it."""
    if data.startswith(_TIFF) and data[8:10] != b"CR":
        return "a TIFF or a camera's raw file"
    if data[4:8] == b"ftyp":
        return _describe_box_file(data[8:12])
    if data.startswith(b"RIFF"):
        return _RIFF.get(data[8:12], "")
    if _PNM.match(data):
        return "a portable pixmap (PNM)"
    kind = next((name for at, magic, name in _MAGIC if data.startswith(magic, at)), None)
    return kind or _describe_text(data[:_HEAD])


def _of_brands(data: bytes) -> str | None:
    for brand in _brands(data):
        if brand in _HEIF_BRANDS:
            return "HEIF"
        if brand in _AVIF_BRANDS:
            return "AVIF"
    return None


def _brands(data: bytes) -> Iterator[bytes]:
    """Yield the major brand and, where that may mean several formats, the compatible ones."""
    yield data[8:12]
    if data[8:12] in _SHARED_BRANDS:
        end = min(int.from_bytes(data[:4], "big"), len(data), 16 + 4 * _MAX_BRANDS)
        for at in range(16, end - 3, 4):
            yield data[at : at + 4]


def _describe_box_file(brand: bytes) -> str:
    if brand.startswith(b"crx"):
        return "a raw file of a Canon camera (CR3)"
    if brand in _SHARED_BRANDS:
        return "a HEIF with a codec other than HEVC and AV1"
    return "a video (MP4 or QuickTime)"


def _describe_text(head: bytes) -> str:
    if _SVG.search(head):
        return "an SVG"
    if _HTML.search(head):
        return "a web page (HTML)"
    return "text" if head.strip() and not _NO_TEXT.search(head) and _is_utf8(head) else ""


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True
