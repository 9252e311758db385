"""The entries of a zip, checked for where they lie before any is read, and read within bounds.

The directory at the end of a zip says where each entry lies. It may point many times at one entry, or at entries within
each other: a few KiB become any number of GiB. Each byte of a zip belongs to one entry here, or the zip is refused.
"""

import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from service.intake.allowance import Allowance
from service.intake.archive_names import UTF8_FLAG
from service.intake.decompressing import ZIP_METHODS, Unpacked
from service.intake.spool import Spool
from service.problems import Problem

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_ENTRY_SIGNATURE = b"PK\x01\x02"
_NOT_READ_FLAGS = 0x20 | 0x40 | 0x2000
"""Patches, strong encryption and hidden headers (APPNOTE 4.4.4)."""


@dataclass(frozen=True)
class PlacedEntry:
    """An entry, and where its packed data lie."""

    info: zipfile.ZipInfo
    data_offset: int


class DirectoryFile:
    """What zipfile reads the directory of a zip from. One that would fill the memory is refused, wherever it lies.

    Args:
        file: The archive.
        max_bytes: Of the directory.
        max_entries: In it.
    """

    def __init__(self, file: IO[bytes], max_bytes: int, max_entries: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int = -1, /) -> bytes:
        """Read at most so much, of a directory with at most so many entries.

        Raises:
            Problem: `archive-rejected`.
        """
        data = b"" if size > self._max_bytes else self._file.read(size)
        if size > self._max_bytes or data.count(_ENTRY_SIGNATURE) > self._max_entries:
            raise Problem("archive-rejected", "The archive holds too many entries.")
        return data

    def seekable(self) -> bool:
        """Return that it can be sought in."""
        return True


def place_entries(archive: Spool, opened: zipfile.ZipFile) -> list[PlacedEntry]:
    """Return the entries in the order of the directory, each with a place of its own before the directory.

    Raises:
        Problem: `archive-rejected`, if two share bytes.
        BadZipFile: If there is no entry where one should be.
    """
    entries = [_place(archive, info) for info in opened.infolist()]
    _require_apart(entries, opened.start_dir)
    return entries


def _place(archive: Spool, info: zipfile.ZipInfo) -> PlacedEntry:
    """Read the header before an entry's data. It has a name and extra fields of its own."""
    header = archive.read(max(0, info.header_offset), _LOCAL_HEADER.size)
    if info.header_offset < 0 or len(header) < _LOCAL_HEADER.size:
        raise zipfile.BadZipFile("An entry lies outside of the file.")
    signature, _, flags, *_, name_size, extra_size = _LOCAL_HEADER.unpack(header)
    if signature != b"PK\x03\x04":
        raise zipfile.BadZipFile("There is no entry where the directory says.")
    at = info.header_offset + _LOCAL_HEADER.size
    raw = archive.read(at, name_size)
    if raw.decode("utf-8" if flags & UTF8_FLAG else "cp437") != info.orig_filename:
        raise zipfile.BadZipFile("An entry has another name than in the directory.")
    return PlacedEntry(info, at + name_size + extra_size)


def _require_apart(entries: Sequence[PlacedEntry], end: int) -> None:
    """Refuse entries that share bytes with each other or with the directory, which begins at `end`."""
    ordered = sorted(entries, key=lambda entry: entry.info.header_offset)
    ends = [entry.info.header_offset for entry in ordered[1:]] + [end]
    for entry, following in zip(ordered, ends, strict=bool(ordered)):
        if entry.data_offset + entry.info.compress_size > following:
            detail = (
                "Entries of the archive lie on top of each other, so that it unpacks to more than it holds: "
                "pack it anew."
            )
            raise Problem("archive-rejected", detail)


class EntryReader:
    """The data of one entry, unpacked as they are read, counted, and checked at their end."""

    def __init__(self, archive: Spool, entry: PlacedEntry, allowed: Allowance) -> None:
        info = entry.info
        if info.flag_bits & _NOT_READ_FLAGS:
            raise NotImplementedError("The entry is packed in a way that is not read.")
        packed = _Slice(archive, entry.data_offset, info.compress_size)
        self._stream = Unpacked(packed, ZIP_METHODS[info.compress_type], are_joined=False)
        self._allowed = allowed
        self._left = info.file_size
        self._sum = 0
        self._expected = info.CRC

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, fewer only at the end.

        Raises:
            BadZipFile: If they are not those that were packed.
        """
        wanted = min(size, self._left)
        data = self._stream.read(wanted)
        self._allowed.spend(len(data))
        self._sum = zlib.crc32(data, self._sum)
        self._left = self._left - len(data) if len(data) == wanted else 0
        if not self._left and self._sum != self._expected:
            raise zipfile.BadZipFile("The data of an entry do not match their sum.")
        return data


class _Slice:
    """A part of a spool, read from its start."""

    def __init__(self, spool: Spool, offset: int, size: int) -> None:
        self._spool = spool
        self._at = offset
        self._end = offset + size

    def read(self, size: int, /) -> bytes:
        """Return the next bytes."""
        data = self._spool.read(self._at, min(size, self._end - self._at))
        self._at += len(data)
        return data
