"""Unpacking an image folder from a zip or tar archive, as if its sender were hostile.

Nothing is written under a name of the archive: contents go to a spool, names only become labels. Links, `..`, absolute
names, encryption, too many entries, more data than a task may have, and far more than they are packed in, refuse
the archive.
"""

import stat
import struct
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Protocol, cast

from service.intake.allowance import Allowance
from service.intake.archive_kinds import (
    HEAD_BYTES,
    MAX_READ,
    TAR,
    ZIP,
    BoundedReader,
    kind_of,
    open_tar,
    require_readable,
)
from service.intake.archive_names import safe_path, tar_name, zip_name
from service.intake.decompressing import DAMAGE, ZIP_METHODS
from service.intake.placing import RawFile, shown
from service.intake.spool import Spool
from service.intake.zip_entries import DirectoryFile, EntryReader, place_entries
from service.layout.layouts import Entry
from service.layout.names import HEAD_BYTES as IMAGE_HEAD_BYTES
from service.layout.names import is_passed_over, may_be_image
from service.layout.tables import MAX_TABLE_BYTES, MAX_TABLES_BYTES, is_table_name
from service.problems import Problem

_MAX_ENTRY_HEADER = 512
"""Bytes a central directory entry may take on average: 46 and its name."""
_PIECE_BYTES = 1 << 20
_MAX_NAMES = 16 << 20
"""Characters of all names together, which are held in memory: 20,000 images have a tenth of it."""
_END_RECORD = 22
_METHODS = {
    1: "shrinking",
    6: "imploding",
    9: "Deflate64",
    20: "Zstandard",
    93: "Zstandard",
    94: "MP3",
    95: "xz",
    96: "JPEG",
    97: "WavPack",
    98: "PPMd",
    99: "AES encryption",
}
"""Compressions of zip entries that Python does not read (APPNOTE 4.4.5), in words."""


class Readable(Protocol):
    """A file in an archive, while it is its turn."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, fewer only at its end."""


@dataclass(frozen=True)
class ArchiveLimits:
    """How much an archive may hold."""

    max_images: int
    max_bytes: int
    max_image_bytes: int


def unpack(
    archive: Spool, into: Spool, limits: ArchiveLimits, *, encoding: str | None = None
) -> list[RawFile]:
    """Copy the images of an archive into a spool, and list all its files; what is no image is not kept and has size 0.

    An image larger than allowed is cut one byte past the limit, so that the decoder refuses it by name.

    Args:
        archive: A zip, or a tar, plain or with gzip, xz or bzip2.
        into: Where the images go.
        limits: How much it may hold.
        encoding: Of names that are neither marked as Unicode nor UTF-8; None refuses those.

    Raises:
        Problem: `archive-rejected` or `too-many-images`.
    """
    try:
        return _take_all(_entries(archive, limits, encoding), into, limits)
    except (zipfile.BadZipFile, tarfile.TarError, *DAMAGE) as error:
        raise _rejected("The archive is damaged.") from error
    except UnicodeDecodeError as error:
        raise _rejected("A name in the archive is marked as UTF-8 and is not.") from error
    except (ValueError, struct.error, NotImplementedError, RuntimeError) as error:
        raise _rejected("The archive cannot be read.") from error


def _take_all(
    entries: Iterable[tuple[PurePosixPath, Readable]], into: Spool, limits: ArchiveLimits
) -> list[RawFile]:
    files: dict[PurePosixPath, RawFile] = {}
    n_images = n_table_bytes = n_characters = 0
    for path, stream in entries:
        file, is_image = _take(path, stream, into, limits)
        n_images += is_image
        n_table_bytes += len(file.entry.head)
        n_characters += len(str(path))
        if n_images > limits.max_images:
            raise Problem("too-many-images")
        if into.size > limits.max_bytes:
            raise _rejected("The archive unpacks to more than a task may have.")
        if n_characters > _MAX_NAMES:
            raise _rejected("The names in the archive are too long together.")
        if n_table_bytes > MAX_TABLES_BYTES:
            raise _rejected(
                f"Its tables of labels have more than {MAX_TABLES_BYTES >> 20} MiB together."
            )
        # What is packed twice under one name is replaced, as it is by whoever unpacks it.
        files[path] = file
    return list(files.values())


def _take(
    path: PurePosixPath, stream: Readable, into: Spool, limits: ArchiveLimits
) -> tuple[RawFile, bool]:
    """Keep a file if it is an image, and say whether; a table of labels goes into its entry."""
    offset = into.size
    if is_passed_over(path):
        return RawFile(Entry(path), offset, 0), False
    if is_table_name(path.name):
        return RawFile(Entry(path, stream.read(MAX_TABLE_BYTES + 1)), offset, 0), False
    head = stream.read(min(IMAGE_HEAD_BYTES, limits.max_image_bytes + 1))
    is_image = may_be_image(path, head)
    if is_image:
        into.append(head)
        while piece := stream.read(
            min(_PIECE_BYTES, limits.max_image_bytes + 1 - into.size + offset)
        ):
            into.append(piece)
    return RawFile(Entry(path, head), offset, into.size - offset), is_image


def _linked(path: PurePosixPath) -> Problem:
    return _rejected(
        f"{shown(str(path))} is a link or a device in the archive: pack the files that links lead to "
        "in their place."
    )


def _rejected(detail: str) -> Problem:
    return Problem("archive-rejected", detail)


def _entries(
    archive: Spool, limits: ArchiveLimits, encoding: str | None
) -> Iterator[tuple[PurePosixPath, Readable]]:
    kind = require_readable(kind_of(archive.read(0, HEAD_BYTES)))
    if kind == ZIP:
        return _zip_entries(archive, limits, encoding)
    return _tar_entries(archive, limits, kind, encoding)


def _zip_entries(
    archive: Spool, limits: ArchiveLimits, encoding: str | None
) -> Iterator[tuple[PurePosixPath, Readable]]:
    _require_end(archive)
    most = _most_entries(limits)
    file = DirectoryFile(archive.file, most * _MAX_ENTRY_HEADER, most)
    with zipfile.ZipFile(cast("IO[bytes]", file)) as opened:
        placed = place_entries(archive, opened)
    entries = [(_zip_path(entry.info, encoding), entry) for entry in placed]
    allowed = Allowance(archive.size, limits.max_bytes)
    allowed.require(sum(_promised(path, entry.info.file_size, limits) for path, entry in entries))
    allowed = Allowance(archive.size, _most_bytes(limits) + MAX_TABLES_BYTES)
    for path, entry in entries:
        if not entry.info.is_dir():
            yield path, EntryReader(archive, entry, allowed)


def _zip_path(info: zipfile.ZipInfo, encoding: str | None) -> PurePosixPath:
    """Return an entry's name, if it is one that is read.

    Raises:
        Problem: `archive-rejected`.
    """
    path = safe_path(zip_name(info, encoding))
    if info.is_dir():
        return path
    if info.flag_bits & 1 or info.compress_type == 99:
        raise _rejected("The archive is encrypted: pack it without a password.")
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        raise _linked(path)
    _require_compression(info)
    return path


def _promised(path: PurePosixPath, size: int, limits: ArchiveLimits) -> int:
    """Return how many bytes of an entry are kept, by its name and the size that the directory gives it."""
    is_image = not is_passed_over(path) and may_be_image(path, b"")
    return min(size, limits.max_image_bytes + 1) if is_image else 0


def _most_entries(limits: ArchiveLimits) -> int:
    return 2 * limits.max_images + 1000


def _most_bytes(limits: ArchiveLimits) -> int:
    """Return how many bytes may be looked at: beside its images an archive may hold other files."""
    return 2 * limits.max_bytes + MAX_READ


def _require_compression(entry: zipfile.ZipInfo) -> None:
    if entry.compress_type not in ZIP_METHODS:
        method = _METHODS.get(entry.compress_type, f"method {entry.compress_type}")
        raise _rejected(
            f"The archive is packed with {method}, which is not read: use the ordinary compression (Deflate)."
        )


def _require_end(archive: Spool) -> None:
    start = max(0, archive.size - 65_557)
    tail = archive.read(start, archive.size - start)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + _END_RECORD:
        raise _rejected("The archive has no directory: it is cut off or not a zip.")


def _tar_entries(
    archive: Spool, limits: ArchiveLimits, kind: str, encoding: str | None
) -> Iterator[tuple[PurePosixPath, Readable]]:
    allowed = Allowance(archive.size, _most_bytes(limits))
    reader = open_tar(archive.file, kind, allowed)
    with _opened(reader, kind) as opened:
        while (member := opened.next()) is not None:
            # It would remember all of them, with whatever their headers say.
            opened.members.clear()  # type: ignore[attr-defined]
            reader.n_members += 1
            if reader.n_members > _most_entries(limits):
                raise _rejected("The archive holds too many entries.")
            path = safe_path(tar_name(member, encoding))
            allowed.require(member.offset_data + member.size)
            if member.isdir():
                continue
            is_plain = member.isreg() and not member.issparse()
            stream = opened.extractfile(member) if is_plain else None
            if stream is None:
                raise _linked(path)
            reader.is_in_headers = False
            with stream:
                yield path, stream
            reader.is_in_headers = True
        # What is packed has its own end, with a checksum: without it something was cut off.
        reader.is_in_headers = False
        while kind != TAR and reader.read(_PIECE_BYTES):
            pass


def _opened(reader: BoundedReader, kind: str) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=reader, mode="r:", encoding="utf-8")
    except tarfile.ReadError as error:
        if kind == TAR:
            raise
        raise _rejected(f"What is packed with {kind} here is no tar archive.") from error
