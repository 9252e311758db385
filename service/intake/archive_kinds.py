"""What kind of archive some bytes are, and its tar opened up: decompressed as it is read, within bounds."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import IO, Protocol

from service.http.problems import Problem

HEAD_BYTES = 512
"""How much of an archive `kind_of` wants to see: the header of a tar."""
MAX_READ = 16 * 1024 * 1024
"""Largest single read a tar header may ask for; an extended header of gigabytes would otherwise be held in memory."""
XZ_MEMORY_BYTES = 128 * 1024 * 1024
"""`xz -9` asks for 65 MiB to be unpacked; a header may ask for 4 GiB."""
_CHUNK = 64 * 1024

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
_TAR_SUM = slice(148, 156)

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


class _Decompressor(Protocol):
    """What bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


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
    if len(head) < HEAD_BYTES or not head[0]:
        return False
    text = head[_TAR_SUM].strip(b" \0")
    if not text.isdigit() or any(digit in b"89" for digit in text):
        return False
    summed = sum(head) - sum(head[_TAR_SUM]) + 8 * ord(" ")
    return int(text, 8) == summed


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


def open_tar(file: IO[bytes], kind: str, end: int) -> "BoundedReader":
    """Return the stream of a tar archive, decompressed.

    Args:
        file: The archive, from its start.
        kind: `tar`, `gzip`, `xz` or `bzip2`.
        end: Bytes of the unpacked archive after which it is refused.
    """
    openers: dict[str, Callable[[], IO[bytes]]] = {
        TAR: lambda: file,
        GZIP: lambda: gzip.GzipFile(fileobj=file, mode="rb"),  # type: ignore[dict-item, return-value]
        XZ: lambda: _Unpacked(file, _xz),  # type: ignore[dict-item, return-value]
        BZIP2: lambda: _Unpacked(file, bz2.BZ2Decompressor),  # type: ignore[dict-item, return-value]
    }
    return BoundedReader(openers[kind](), end)


DAMAGE = (zlib.error, lzma.LZMAError, EOFError, OSError)
"""What reading a damaged archive raises."""


def _xz() -> _Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)


class _Unpacked(io.RawIOBase):
    """A decompressed stream that is read forwards only, and never holds more than is asked for."""

    def __init__(self, file: IO[bytes], make: Callable[[], _Decompressor]) -> None:
        self._file = file
        self._make = make
        self._decompressor = make()
        self._position = 0

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, fewer only at the end."""
        pieces = []
        while size > 0:
            piece = self._next(size)
            if not piece:
                break
            pieces.append(piece)
            size -= len(piece)
            self._position += len(piece)
        return b"".join(pieces)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go forwards."""
        if whence != io.SEEK_SET or offset < self._position:
            raise OSError("A packed archive is read forwards only.")
        while self._position < offset:
            if not self.read(min(_CHUNK, offset - self._position)):
                break
        return self._position

    def tell(self) -> int:
        """Return how much was read."""
        return self._position

    def _next(self, size: int) -> bytes:
        while True:
            if self._decompressor.eof and not self._start_next():
                return b""
            data = self._file.read(_CHUNK) if self._decompressor.needs_input else b""
            if self._decompressor.needs_input and not data:
                raise EOFError("The packed data are cut off.")
            piece = self._decompressor.decompress(data, size)
            if piece:
                return piece

    def _start_next(self) -> bool:
        """Go on with the next stream, if several were joined."""
        left = self._decompressor.unused_data or self._file.read(_CHUNK)
        if not left.strip(b"\0"):
            return False
        self._decompressor = self._make()
        self._file = _Joined(left, self._file)  # type: ignore[assignment]
        return True


class _Joined:
    """Bytes that were read too far, before the rest of their file."""

    def __init__(self, first: bytes, rest: IO[bytes]) -> None:
        self._first = first
        self._rest = rest

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        if self._first:
            piece, self._first = self._first[:size], self._first[size:]
            return piece
        return self._rest.read(size)


class BoundedReader(io.RawIOBase):
    """A stream for tarfile that refuses to read far or much at once."""

    def __init__(self, inner: IO[bytes], end: int) -> None:
        self._inner = inner
        self._end = end

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes."""
        if size < 0 or size > MAX_READ:
            raise Problem("archive-rejected", "The archive has an oversized header.")
        if self._inner.tell() > self._end:
            raise Problem("archive-rejected", "The archive unpacks to more than a task may have.")
        return self._inner.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place before the end."""
        if whence != io.SEEK_SET or offset > self._end:
            detail = "The archive unpacks to more than a task may have."
            raise Problem("archive-rejected", detail)
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
