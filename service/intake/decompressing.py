"""Packed data opened up piece by piece: never more in memory than is asked for, whatever the sender packed."""

import bz2
import io
import lzma
import struct
import zlib
from collections.abc import Callable
from typing import Protocol

XZ_MEMORY_BYTES = 128 * 1024 * 1024
"""`xz -9` asks for 65 MiB to be unpacked; a header may ask for 4 GiB."""
DAMAGE = (zlib.error, lzma.LZMAError, EOFError, OSError)
"""What reading damaged packed data raises."""
_CHUNK = 16 * 1024
_FREE_STREAMS = 4000
_BYTES_A_STREAM = 16 * 1024
"""Programs that pack in parallel join streams of 60 KiB and more; empty ones would be work without end."""
_LZMA_END_MARK = 2
"""Bit of a zip entry whose LZMA data say where they end (APPNOTE 4.4.4)."""


class Decompressor(Protocol):
    """What bz2 and lzma have in common."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def needs_input(self) -> bool:
        """Whether nothing more comes without more data."""

    @property
    def unused_data(self) -> bytes:
        """What follows the end of the stream."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Return at most so many bytes; keep the rest."""


class Source(Protocol):
    """Where packed data come from."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, up to `size`."""


class _Zlib:
    """zlib behind the same front as bz2 and lzma."""

    def __init__(self, window: int) -> None:
        self._inner = zlib.decompressobj(window)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.eof and not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max(0, max_length))


class _Stored:
    """Data that are not packed, behind the same front."""

    eof = False
    unused_data = b""

    def __init__(self) -> None:
        self._left = b""

    @property
    def needs_input(self) -> bool:
        return not self._left

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        whole = self._left + data
        self._left = whole[max_length:]
        return whole[:max_length]


class _ZipLzma:
    """LZMA as zips have it (APPNOTE 5.8): a version, and the properties, before the bare data."""

    def __init__(self) -> None:
        self._head = b""
        self._inner: lzma.LZMADecompressor | None = None

    @property
    def eof(self) -> bool:
        return self._inner is not None and self._inner.eof

    @property
    def needs_input(self) -> bool:
        return self._inner is None or self._inner.needs_input

    @property
    def unused_data(self) -> bytes:
        return b"" if self._inner is None else self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        if self._inner is None:
            self._head += data
            if len(self._head) < 9:
                return b""
            size = struct.unpack("<H", self._head[2:4])[0]
            self._inner, data = _bare_lzma(self._head[4:9], size), self._head[9:]
        return self._inner.decompress(data, max_length)


def _bare_lzma(properties: bytes, size: int) -> lzma.LZMADecompressor:
    packed, dict_size = struct.unpack("<BI", properties)
    if size != 5 or packed >= 9 * 5 * 5 or dict_size > XZ_MEMORY_BYTES:
        raise lzma.LZMAError("The properties are none that are read.")
    filters = [
        {
            "id": lzma.FILTER_LZMA1,
            "dict_size": max(dict_size, 4096),
            "lc": packed % 9,
            "lp": packed // 9 % 5,
            "pb": packed // 45,
        }
    ]
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)


def gunzip() -> Decompressor:
    """Return what unpacks one gzip stream."""
    return _Zlib(16 + zlib.MAX_WBITS)


def unxz() -> Decompressor:
    """Return what unpacks one xz stream."""
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)


ZIP_METHODS: dict[int, Callable[[], Decompressor]] = {
    0: _Stored,
    8: lambda: _Zlib(-zlib.MAX_WBITS),
    12: bz2.BZ2Decompressor,
    14: _ZipLzma,
}
"""What unpacks the entries of a zip, by their compression (APPNOTE 4.4.5)."""


class Unpacked(io.RawIOBase):
    """A decompressed stream that is read forwards only, and never holds more than is asked for.

    Args:
        file: The packed data, from their start.
        make: Makes what unpacks one stream of them.
        are_joined: Whether several streams may follow one another; otherwise what follows is left alone.
    """

    def __init__(
        self, file: Source, make: Callable[[], Decompressor], *, are_joined: bool = True
    ) -> None:
        self._file = file
        self._make = make
        self._are_joined = are_joined
        self._decompressor = make()
        self._ahead = b""
        self._position = self._n_packed = 0
        self._n_streams = 1

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
            data = self._take() if self._decompressor.needs_input else b""
            if self._decompressor.needs_input and not data:
                raise EOFError("The packed data are cut off.")
            piece = self._decompressor.decompress(data, size)
            if piece:
                return piece

    def _take(self) -> bytes:
        """Return the next packed bytes: those that were read too far, then the file's."""
        data, self._ahead = self._ahead, b""
        if not data:
            data = self._file.read(_CHUNK)
            self._n_packed += len(data)
        return data

    def _start_next(self) -> bool:
        """Go on with the next stream, if several were joined; zeros between them, and behind them, are padding."""
        if not self._are_joined:
            return False
        self._ahead = self._decompressor.unused_data
        while data := self._take():
            self._ahead = data.lstrip(b"\0")
            if self._ahead:
                self._decompressor = self._make()
                self._count_stream()
                return True
        return False

    def _count_stream(self) -> None:
        self._n_streams += 1
        if self._n_streams > _FREE_STREAMS + self._n_packed // _BYTES_A_STREAM:
            raise OSError("The packed data are joined of too many pieces.")
