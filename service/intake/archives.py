"""Unpacking an image folder from a zip or tar archive, as if its sender were hostile.

Nothing is written under a name of the archive: contents go to a spool, names only become labels. Links, `..`, absolute
names, encryption, too many entries and more data than a task may have refuse the archive.
"""

import gzip
import io
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from service.http.problems import Problem
from service.intake.splitting import AUTO, EVAL, TRAIN
from service.intake.spool import Spool

MAX_READ = 16 * 1024 * 1024
"""Largest single read a tar header may ask for; an extended header of gigabytes would otherwise be held in memory."""
_MAX_ENTRY_HEADER = 1024
"""Bytes a central directory entry may take on average: 46 and its name."""
_JUNK = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})


@dataclass(frozen=True)
class ArchiveLimits:
    """How much an archive may hold."""

    max_images: int
    max_bytes: int
    max_image_bytes: int


@dataclass(frozen=True)
class ArchiveImage:
    """One file of the folder, its bytes in the spool."""

    filename: str
    label: str
    split: str
    offset: int
    size: int


def unpack(archive: Spool, into: Spool, limits: ArchiveLimits) -> list[ArchiveImage]:
    """Copy the files of an archive into a spool and read labels and splits off their folders.

    An image larger than allowed is cut one byte past the limit, so that the decoder refuses it by name.

    Raises:
        Problem: `archive-rejected`, `too-many-images` or `missing-image`.
    """
    files: list[tuple[PurePosixPath, int, int]] = []
    try:
        for name, stream in _entries(archive, limits):
            path = _safe_path(name)
            if path.name.startswith(".") or _JUNK & set(path.parts):
                continue
            if len(files) >= limits.max_images:
                raise Problem("too-many-images")
            offset, data = into.size, stream.read(limits.max_image_bytes + 1)
            into.append(data)
            files.append((path, offset, len(data)))
            if into.size > limits.max_bytes:
                raise _rejected("The archive unpacks to more than a task may have.")
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise _rejected("The archive is damaged.") from error
    except (ValueError, struct.error, NotImplementedError, RuntimeError) as error:
        raise _rejected("The archive cannot be read.") from error
    if not files:
        raise Problem("missing-image", "The archive holds no image.")
    return _labelled(files)


def _rejected(detail: str) -> Problem:
    return Problem("archive-rejected", detail)


def _entries(archive: Spool, limits: ArchiveLimits) -> Iterator[tuple[str, IO[bytes]]]:
    magic = archive.read(0, 4)
    if magic.startswith(b"PK"):
        return _zip_entries(archive, limits)
    return _tar_entries(archive, limits, is_gzip=magic.startswith(b"\x1f\x8b"))


def _zip_entries(archive: Spool, limits: ArchiveLimits) -> Iterator[tuple[str, IO[bytes]]]:
    _check_directory(archive, limits)
    with zipfile.ZipFile(archive.file) as opened:
        for entry in opened.infolist():
            mode = entry.external_attr >> 16
            if entry.is_dir():
                continue
            if entry.flag_bits & 1:
                raise _rejected("The archive is encrypted.")
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise _rejected("The archive holds a link or a device.")
            with opened.open(entry) as stream:
                yield entry.filename, stream


def _check_directory(archive: Spool, limits: ArchiveLimits) -> None:
    """Refuse a zip by its end record, before the directory is read into memory."""
    start = max(0, archive.size - 65_557)
    tail = archive.read(start, archive.size - start)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise _rejected("The archive has no directory: it is cut off or not a zip.")
    if tail[max(0, at - 20) : at].startswith(b"PK\x06\x07"):
        raise _rejected("Zip64 is not needed for what a task may hold, and not read.")
    size = struct.unpack("<I", tail[at + 12 : at + 16])[0]
    if size > (limits.max_images + 1000) * _MAX_ENTRY_HEADER:
        raise _rejected("The archive holds too many entries.")


class _BoundedReader(io.RawIOBase):
    """A stream for tarfile that refuses to read far or much at once."""

    def __init__(self, inner: IO[bytes], end: int) -> None:
        self._inner = inner
        self._end = end

    def read(self, size: int = -1, /) -> bytes:
        if size < 0 or size > MAX_READ:
            raise _rejected("The archive has an oversized header.")
        return self._inner.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence != io.SEEK_SET or offset > self._end:
            raise _rejected("The archive unpacks to more than a task may have.")
        return self._inner.seek(offset)

    def tell(self) -> int:
        return self._inner.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def _tar_entries(
    archive: Spool, limits: ArchiveLimits, *, is_gzip: bool
) -> Iterator[tuple[str, IO[bytes]]]:
    raw: IO[bytes] = gzip.GzipFile(fileobj=archive.file, mode="rb") if is_gzip else archive.file  # type: ignore[assignment]
    end = 2 * limits.max_bytes + MAX_READ
    count = 0
    with tarfile.open(fileobj=_BoundedReader(raw, end), mode="r:") as opened:
        for member in opened:
            count += 1
            if count > 2 * limits.max_images + 1000:
                raise _rejected("The archive holds too many entries.")
            if member.isdir():
                continue
            is_plain = member.isreg() and not member.issparse()
            stream = opened.extractfile(member) if is_plain else None
            if stream is None:
                raise _rejected("The archive holds a link or a device.")
            with stream:
                yield member.name, stream


def _safe_path(name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    drive = len(path.parts) > 0 and path.parts[0].endswith(":")
    if path.is_absolute() or ".." in path.parts or "\0" in name or drive:
        raise _rejected("The archive holds a name that leads out of its folder.")
    return path


def _labelled(files: list[tuple[PurePosixPath, int, int]]) -> list[ArchiveImage]:
    """Read `label/file` or `train|eval/label/file`, below one common folder or none."""
    parts = [path.parts for path, _, _ in files]
    skip = 1 if _has_common_folder(parts) else 0
    images = []
    for (path, offset, size), all_parts in zip(files, parts, strict=True):
        folder = all_parts[skip:-1]
        if len(folder) == 1:
            label, split = folder[0], AUTO
        elif len(folder) == 2 and folder[0] in (TRAIN, EVAL):
            label, split = folder[1], folder[0]
        else:
            raise _rejected(
                "Each image must lie in a folder named by its label: label/file, train/label/file or eval/label/file."
            )
        images.append(ArchiveImage(path.name, label, split, offset, size))
    return images


def _has_common_folder(parts: list[tuple[str, ...]]) -> bool:
    first = {p[0] for p in parts}
    return len(first) == 1 and first.isdisjoint({TRAIN, EVAL}) and all(len(p) >= 3 for p in parts)
