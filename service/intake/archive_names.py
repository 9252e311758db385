"""The names in archives: decoded for certain or refused, never guessed into letters that nobody wrote."""

import struct
import tarfile
import zipfile
import zlib
from pathlib import PurePosixPath

from service.layout.names import MAX_PATH
from service.problems import Problem

UTF8_FLAG = 0x800
"""Bit of a zip entry whose name is UTF-8 (APPNOTE 4.4.4)."""
UNICODE_PATH = 0x7075
"""Extra field of Info-ZIP with the name in UTF-8 (APPNOTE 4.6.9)."""
ADVICE = (
    "pack it anew with UTF-8 names, or say how they are written with `encoding`: `cp437` or `cp850` (Western European),"
    " `cp866` (Cyrillic), `cp932` (Japanese), `gbk` (Chinese), for example"
)


def zip_name(entry: zipfile.ZipInfo, encoding: str | None) -> str:
    """Return an entry's name: by its flag, else its Unicode path field, else as UTF-8, else in the encoding said.

    Raises:
        Problem: `archive-rejected`, if none of them tells.
    """
    name = entry.orig_filename
    if entry.flag_bits & UTF8_FLAG:
        return name
    raw = name.encode("cp437")  # how zipfile has decoded it; every byte comes back
    return _unicode_path(entry.extra, raw) or _decoded(raw, encoding)


def tar_name(member: tarfile.TarInfo, encoding: str | None) -> str:
    """Return a member's name: as UTF-8, else in the encoding said.

    Raises:
        Problem: `archive-rejected`, if it is neither.
    """
    return _decoded(member.name.encode("utf-8", "surrogateescape"), encoding)


def safe_path(name: str) -> PurePosixPath:
    """Return a name as a path inside the archive.

    Raises:
        Problem: `archive-rejected`, if it leads out of it.
    """
    if len(name) > MAX_PATH:
        raise Problem(
            "archive-rejected", f"The archive holds a name of more than {MAX_PATH} characters."
        )
    path = PurePosixPath(name.replace("\\", "/"))
    drive = len(path.parts) > 0 and path.parts[0].endswith(":")
    if path.is_absolute() or ".." in path.parts or "\0" in name or drive:
        printable = "".join(c for c in str(path) if c.isprintable())[:200]
        detail = f"The archive holds a name that leads out of its folder, {printable}: pack it with relative names."
        raise Problem("archive-rejected", detail)
    return path


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    """Return the name in the Unicode path field, if there is one and it was made for this name."""
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        data, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == UNICODE_PATH and len(data) > 5 and data[0] == 1:
            if struct.unpack("<I", data[1:5])[0] != zlib.crc32(raw):
                return None
            try:
                return data[5:].decode("utf-8")
            except UnicodeDecodeError:
                return None
    return None


def _decoded(raw: bytes, encoding: str | None) -> str:
    for candidate in ("utf-8", encoding):
        if candidate is not None:
            try:
                return raw.decode(candidate)
            except UnicodeDecodeError:
                continue
    shown = raw.decode("ascii", "backslashreplace")[:200]
    encodings = f"not {encoding} either" if encoding else "of unknown encoding"
    raise Problem("archive-rejected", f"The name {shown} is not UTF-8 and {encodings}: {ADVICE}.")
