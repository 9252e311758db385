"""Unpacking an image folder from a zip or tar archive, as if its sender were hostile.

Nothing is written under a name of the archive: contents go to a spool, names only become labels. Links, `..`, absolute
names, encryption, too many entries and more data than a task may have refuse the archive.
"""

import stat
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from service.http.problems import Problem
from service.intake.archive_kinds import (
    DAMAGE,
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
from service.intake.placing import RawFile, shown
from service.intake.spool import Spool
from service.layout.layouts import Entry
from service.layout.names import HEAD_BYTES as IMAGE_HEAD_BYTES
from service.layout.names import is_passed_over, may_be_image
from service.layout.tables import MAX_TABLE_BYTES, MAX_TABLES_BYTES, is_table_name

_MAX_ENTRY_HEADER = 1024
"""Bytes a central directory entry may take on average: 46 and its name."""
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
    files: dict[PurePosixPath, RawFile] = {}
    n_images = n_table_bytes = 0
    try:
        for path, stream in _entries(archive, limits, encoding):
            file, is_image = _take(path, stream, into, limits)
            n_images += is_image
            n_table_bytes += len(file.entry.head)
            if n_images > limits.max_images:
                raise Problem("too-many-images")
            if into.size > limits.max_bytes:
                raise _rejected("The archive unpacks to more than a task may have.")
            if n_table_bytes > MAX_TABLES_BYTES:
                raise _rejected(
                    f"Its tables of labels have more than {MAX_TABLES_BYTES >> 20} MiB together."
                )
            # What is packed twice under one name is replaced, as it is by whoever unpacks it.
            files[path] = file
    except (zipfile.BadZipFile, tarfile.TarError, *DAMAGE) as error:
        raise _rejected("The archive is damaged.") from error
    except UnicodeDecodeError as error:
        raise _rejected("A name in the archive is marked as UTF-8 and is not.") from error
    except (ValueError, struct.error, NotImplementedError, RuntimeError) as error:
        raise _rejected("The archive cannot be read.") from error
    return list(files.values())


def _take(
    path: PurePosixPath, stream: IO[bytes], into: Spool, limits: ArchiveLimits
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
        into.append(head + stream.read(limits.max_image_bytes + 1 - len(head)))
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
) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    kind = require_readable(kind_of(archive.read(0, HEAD_BYTES)))
    if kind == ZIP:
        return _zip_entries(archive, limits, encoding)
    return _tar_entries(archive, limits, kind, encoding)


def _zip_entries(
    archive: Spool, limits: ArchiveLimits, encoding: str | None
) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    _check_directory(archive, limits)
    with zipfile.ZipFile(archive.file) as opened:
        for entry in opened.infolist():
            path = safe_path(zip_name(entry, encoding))
            mode = entry.external_attr >> 16
            if entry.is_dir():
                continue
            if entry.flag_bits & 1 or entry.compress_type == 99:
                raise _rejected("The archive is encrypted: pack it without a password.")
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise _linked(path)
            _require_compression(entry)
            with opened.open(entry) as stream:
                yield path, stream


def _require_compression(entry: zipfile.ZipInfo) -> None:
    known = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    if entry.compress_type not in known:
        method = _METHODS.get(entry.compress_type, f"method {entry.compress_type}")
        raise _rejected(
            f"The archive is packed with {method}, which is not read: use the ordinary compression (Deflate)."
        )


def _check_directory(archive: Spool, limits: ArchiveLimits) -> None:
    """Refuse a zip by its end record, before the directory is read into memory."""
    start = max(0, archive.size - 65_557)
    tail = archive.read(start, archive.size - start)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + _END_RECORD:
        raise _rejected("The archive has no directory: it is cut off or not a zip.")
    size = struct.unpack("<I", tail[at + 12 : at + 16])[0]
    locator = tail[max(0, at - 20) : at]
    if locator.startswith(b"PK\x06\x07"):
        size = max(_zip64_directory_size(archive, locator), size * (size != 0xFFFFFFFF))
    if size > (limits.max_images + 1000) * _MAX_ENTRY_HEADER:
        raise _rejected("The archive holds too many entries.")


def _zip64_directory_size(archive: Spool, locator: bytes) -> int:
    record = archive.read(struct.unpack("<Q", locator[8:16])[0], 56)
    if len(record) < 56 or not record.startswith(b"PK\x06\x06"):
        raise _rejected("The archive has no directory: it is cut off or not a zip.")
    size: int = struct.unpack("<Q", record[40:48])[0]
    return size


def _tar_entries(
    archive: Spool, limits: ArchiveLimits, kind: str, encoding: str | None
) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    reader = open_tar(archive.file, kind, 2 * limits.max_bytes + MAX_READ)
    count = 0
    with _opened(reader, kind) as opened:
        for member in opened:
            count += 1
            if count > 2 * limits.max_images + 1000:
                raise _rejected("The archive holds too many entries.")
            path = safe_path(tar_name(member, encoding))
            if member.isdir():
                continue
            is_plain = member.isreg() and not member.issparse()
            stream = opened.extractfile(member) if is_plain else None
            if stream is None:
                raise _linked(path)
            with stream:
                yield path, stream
        # What is packed has its own end, with a checksum: without it something was cut off.
        while kind != TAR and reader.read(1 << 20):
            pass


def _opened(reader: BoundedReader, kind: str) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=reader, mode="r:", encoding="utf-8")
    except tarfile.ReadError as error:
        if kind == TAR:
            raise
        raise _rejected(f"What is packed with {kind} here is no tar archive.") from error
