"""What kind of archive some bytes are, and its tar opened up: decompressed as it is read, within bounds.

tarfile reads the headers, but not what is packed: its own streams unpack whatever 10 KiB hold at once, and xz with as
much memory as its header asks for.
"""

import bz2
import io
import re
import tarfile
from collections.abc import Callable
from typing import IO, cast

from service.intake.allowance import Allowance
from service.intake.decompressing import Decompressor, Unpacked, gunzip, unxz
from service.problems import Problem

HEAD_BYTES = 512
"""How much of an archive `kind_of` wants to see: the header of a tar."""
MAX_READ = 16 * 1024 * 1024
"""Largest single read; an extended header of gigabytes would otherwise be held in memory."""
FREE_HEADER_BYTES = 256 * 1024
HEADER_BYTES = 4 * 1024
"""Of all headers of a tar, for each of its members: 512, and what systems note of a file beside its name."""
_BLOCK = 512
_LONG_NUMBER = re.compile(rb"[0-9]{256}")
"""What tarfile of Python before 3.11.10 and 3.12.6 looks through again and again, for hours (CVE-2024-6232)."""

ZIP, TAR, GZIP, XZ, BZIP2 = "zip", "tar", "gzip", "xz", "bzip2"
READABLE = frozenset((ZIP, TAR, GZIP, XZ, BZIP2))
_MAGICS = (
    (b"PK\x03\x04", ZIP),
    (b"PK\x05\x06", ZIP),
    (b"PK\x07\x08", ZIP),
    (b"\x1f\x8b", GZIP),
    (b"\xfd7zXZ\x00", XZ),
    (b"BZh", BZIP2),
    (b"Rar!\x1a\x07", "RAR"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"\x04\x22\x4d\x18", "LZ4"),
    (b"\x1f\x9d", "compress"),
    (b"MSCF", "Cabinet"),
)
_TAR_MAGIC = slice(257, 262)

MEDIA_TYPES = frozenset(
    f"application/{name}"
    for name in (
        "zip",
        "x-zip",
        "x-zip-compressed",
        "x-tar",
        "tar",
        "x-gtar",
        "gzip",
        "x-gzip",
        "x-gunzip",
        "x-tgz",
        "x-tar-gz",
        "x-compressed",
        "x-compressed-tar",
        "gtar",
        "x-xz",
        "x-bzip",
        "x-bzip2",
        "x-bzip-compressed-tar",
        "x-xz-compressed-tar",
    )
)
"""Content types under which archives are sent. What one really is, its first bytes say."""
UNSPECIFIC_TYPES = frozenset(("application/octet-stream", "binary/octet-stream"))
"""Content types that say nothing."""


def kind_of(head: bytes) -> str | None:
    """Return what kind of archive begins with some bytes, also if it is none that is read; None if it is no archive.

    Example:
        >>> kind_of(b"BZh91AY"), kind_of(b"MSCF"), kind_of(b"GIF89a")
        ('bzip2', 'Cabinet', None)
    """
    for magic, kind in _MAGICS:
        if head.startswith(magic):
            return kind
    return TAR if head[_TAR_MAGIC] == b"ustar" or _is_old_tar(head) else None


def _is_old_tar(head: bytes) -> bool:
    """Return whether a block has the checksum of a tar header: those from before 1988 have no magic."""
    try:
        tarfile.TarInfo.frombuf(head[:HEAD_BYTES], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def require_readable(kind: str | None) -> str:
    """Return the kind of an archive that can be read.

    Raises:
        Problem: `archive-rejected`, with what it is.
    """
    if kind is None:
        raise Problem("archive-rejected", "This is no archive: send a zip or a tar.")
    if kind not in READABLE:
        detail = f"This is a {kind} archive, which is not read: send a zip, or a tar, plain or with gzip, xz or bzip2."
        raise Problem("archive-rejected", detail)
    return kind


def open_tar(file: IO[bytes], kind: str, allowed: Allowance) -> "BoundedReader":
    """Return the stream of a tar archive, decompressed.

    Args:
        file: The archive, from its start.
        kind: `tar`, `gzip`, `xz` or `bzip2`.
        allowed: How far the unpacked archive may go.
    """
    make = _MAKERS.get(kind)
    # A raw stream has all that tarfile asks for.
    inner = file if make is None else cast("IO[bytes]", Unpacked(file, make))
    return BoundedReader(inner, allowed)


_MAKERS: dict[str, Callable[[], Decompressor]] = {
    GZIP: gunzip,
    XZ: unxz,
    BZIP2: bz2.BZ2Decompressor,
}


class BoundedReader(io.RawIOBase):
    """A stream for tarfile that refuses to read far or much at once, and headers that are work without end."""

    def __init__(self, inner: IO[bytes], allowed: Allowance) -> None:
        self._inner = inner
        self._allowed = allowed
        self._header_bytes = 0
        self.n_members = 0
        """Found so far: each may have some bytes of headers."""
        self.is_in_headers = True
        """Whether what is read now is headers, not data of members."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes."""
        if size < 0 or size > MAX_READ:
            raise _oversized()
        self._allowed.require(self._inner.tell())
        data = self._inner.read(size)
        if self.is_in_headers:
            self._check_headers(data)
        return data

    def _check_headers(self, data: bytes) -> None:
        self._header_bytes += len(data)
        if self._header_bytes > FREE_HEADER_BYTES + HEADER_BYTES * self.n_members:
            raise _oversized()
        if len(data) > _BLOCK and _LONG_NUMBER.search(data):
            raise _oversized()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place before the end."""
        if whence != io.SEEK_SET:
            raise OSError("An archive is sought in from its start.")
        self._allowed.require(offset)
        return self._inner.seek(offset)

    def tell(self) -> int:
        """Return where the stream is."""
        return self._inner.tell()

    def seekable(self) -> bool:
        """Return that it can be sought in, as far as tarfile does."""
        return True

    def readable(self) -> bool:
        """Return that it can be read."""
        return True


def _oversized() -> Problem:
    return Problem("archive-rejected", "The archive has an oversized header.")
