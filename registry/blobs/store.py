"""Content-addressed blobs: bytes kept under their SHA-256, written once, never changed.

Here are what every store does, and the one in a folder; `registry.blobs.s3` holds the one in an S3-compatible store,
and `registry.blobs.opening` opens either.
"""

import errno
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from registry.errors import (
    BlobDamagedError,
    BlobMissingError,
    BlobStoreUnavailableError,
    StorageFullError,
)
from registry.failpoints import failpoint

BATCH_BYTES = 32 << 20
"""`put_many` writes about this much before it makes it durable: bounds memory when blobs come as a generator."""
REFRESH_AFTER = timedelta(hours=1)
"""A `put` of a blob that is there sets its time anew if it is older: far less than what collection leaves alone."""
FULL = (errno.ENOSPC, errno.EDQUOT)
UNREACHABLE = (errno.EIO, errno.EROFS, errno.ESTALE, errno.EHOSTDOWN, errno.ETIMEDOUT)
"""What a failing disk, one mounted read-only, or a share whose server is gone answer."""


@dataclass(frozen=True)
class BlobInfo:
    """A blob as the store lists it."""

    sha256: str
    size: int
    """Bytes."""
    modified: datetime
    """When it was written, or last put again."""


class BlobStore(Protocol):
    """What service and worker need of a blob store. Safe to use from several threads and processes.

    Any method may raise `BlobStoreUnavailableError`: the store does not answer, or refuses; trying again may help.
    """

    def put(self, data: bytes) -> str:
        """Keep `data` and return its SHA-256 in hex. Durable when it returns.

        Writes nothing if it is there already, but makes it count as new, so that collection leaves it alone.

        Raises:
            StorageFullError: If there is no space.
        """
        ...

    def put_many(self, blobs: Iterable[bytes]) -> list[str]:
        """Keep many blobs, faster than one by one, and return their hashes in order. Durable when it returns."""
        ...

    def get(self, sha256: str) -> bytes:
        """Return the bytes of a blob, with the hash verified.

        Raises:
            BlobMissingError: If there is none.
            BlobDamagedError: If the bytes do not have the hash.
        """
        ...

    def exists(self, sha256: str) -> bool:
        """Say whether the blob is there, without reading it."""
        ...

    def missing(self, hashes: Iterable[str]) -> set[str]:
        """Return those of many hashes that no blob has, faster than asking `exists` for each."""
        ...

    def size(self, sha256: str) -> int:
        """Return the size of a blob in bytes.

        Raises:
            BlobMissingError: If there is none.
        """
        ...

    def delete(self, sha256: str) -> None:
        """Remove a blob; a no-op if there is none."""
        ...

    def listing(self) -> Iterator[BlobInfo]:
        """List all blobs, in no order. Those put or deleted meanwhile may be in it or not."""
        ...

    def discard(self, hashes: Iterable[str], *, older_than: datetime) -> list[BlobInfo]:
        """Delete those of some blobs that have not been put since a time, and return what was deleted."""
        ...

    def discard_leftovers(self, *, older_than: datetime) -> list[int]:
        """Delete what writes that were cut off before a time left behind, and return the sizes in bytes."""
        ...

    def require_space(self, size_bytes: int, *, floor_bytes: int) -> None:
        """Check that `floor_bytes` stay free after writing `size_bytes`; a no-op where the store cannot say.

        Raises:
            StorageFullError: If they do not.
        """
        ...


class LocalBlobStore:
    """Blobs in a folder: `<root>/sha256/ab/cdef...`. A shared folder serves several machines."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, data: bytes) -> str:
        """See `BlobStore.put`: temporary file, fsync, rename, fsync of the folder."""
        return self.put_many([data])[0]

    def put_many(self, blobs: Iterable[bytes]) -> list[str]:
        """See `BlobStore.put_many`. Writes a batch, then syncs its files and each folder once."""
        hashes: list[str] = []
        batch: dict[str, Path] = {}
        batch_bytes = 0
        try:
            for data in blobs:
                sha256 = hashlib.sha256(data).hexdigest()
                hashes.append(sha256)
                with _disk_errors():
                    if sha256 not in batch and not self._refresh(sha256, len(data)):
                        batch[sha256] = self._write_temporary(data)
                        batch_bytes += len(data)
                    if batch_bytes >= BATCH_BYTES:
                        self._make_durable(batch)
                        batch_bytes = 0
            with _disk_errors():
                self._make_durable(batch)
        finally:
            for temporary in batch.values():
                temporary.unlink(missing_ok=True)
        return hashes

    def get(self, sha256: str) -> bytes:
        """See `BlobStore.get`."""
        try:
            with _disk_errors():
                data = self._path(sha256).read_bytes()
        except FileNotFoundError as error:
            raise BlobMissingError(sha256) from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise BlobDamagedError(sha256)
        return data

    def exists(self, sha256: str) -> bool:
        """See `BlobStore.exists`."""
        return self._path(sha256).is_file()

    def missing(self, hashes: Iterable[str]) -> set[str]:
        """See `BlobStore.missing`."""
        return {sha256 for sha256 in hashes if not self.exists(sha256)}

    def size(self, sha256: str) -> int:
        """See `BlobStore.size`."""
        try:
            return self._path(sha256).stat().st_size
        except FileNotFoundError as error:
            raise BlobMissingError(sha256) from error

    def delete(self, sha256: str) -> None:
        """See `BlobStore.delete`."""
        self._path(sha256).unlink(missing_ok=True)

    def listing(self) -> Iterator[BlobInfo]:
        """See `BlobStore.listing`."""
        for folder in _entries(self.root / "sha256"):
            for path in _entries(folder):
                info = _info(folder.name + path.name, path)
                if is_hash(folder.name + path.name) and info is not None:
                    yield info

    def discard(self, hashes: Iterable[str], *, older_than: datetime) -> list[BlobInfo]:
        """See `BlobStore.discard`."""
        discarded: list[BlobInfo] = []
        for sha256 in hashes:
            info = _info(sha256, self._path(sha256))
            if info is not None and info.modified < older_than:
                self.delete(sha256)
                discarded.append(info)
        return discarded

    def discard_leftovers(self, *, older_than: datetime) -> list[int]:
        """See `BlobStore.discard_leftovers`: temporary files of processes that were killed."""
        sizes: list[int] = []
        for path in _entries(self.root / "tmp"):
            info = _info("", path)
            if info is not None and info.modified < older_than:
                path.unlink(missing_ok=True)
                sizes.append(info.size)
        return sizes

    def require_space(self, size_bytes: int, *, floor_bytes: int) -> None:
        """See `BlobStore.require_space`."""
        with _disk_errors():
            self.root.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(self.root).free - size_bytes < floor_bytes:
                raise StorageFullError

    def _path(self, sha256: str) -> Path:
        # Hashes come from our own rows; this keeps a damaged one from ever naming another file.
        if not is_hash(sha256):
            raise BlobMissingError(sha256)
        return self.root / "sha256" / sha256[:2] / sha256[2:]

    def _refresh(self, sha256: str, size: int) -> bool:
        """Say whether a blob is there, and make it count as new. One of a wrong size is not: it is written again."""
        path = self._path(sha256)
        try:
            status = path.stat()
            if status.st_size != size:
                return False
            if time.time() - status.st_mtime > REFRESH_AFTER.total_seconds():
                os.utime(path)
        except (FileNotFoundError, PermissionError):
            return False
        return True

    def _write_temporary(self, data: bytes) -> Path:
        folder = self.root / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            failpoint("blobs.after_write")
        except OSError:
            Path(name).unlink()
            raise
        return Path(name)

    def _make_durable(self, batch: dict[str, Path]) -> None:
        """Sync, rename and empty `batch`. The first sync writes the journal for all, so the rest are cheap."""
        for temporary in batch.values():
            _sync(temporary)
        if batch:
            failpoint("blobs.after_sync")
        folders: set[Path] = set()
        for sha256 in list(batch):
            path = self._path(sha256)
            folders |= _make_folder(path.parent)
            batch.pop(sha256).rename(path)
        if folders:
            failpoint("blobs.after_rename")
        for folder in folders:
            _sync(folder)


def is_hash(text: str) -> bool:
    """Say whether a text is a SHA-256 in lower-case hex."""
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Turn what a full or failing disk answers into our errors."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StorageFullError from error
        if error.errno in UNREACHABLE:
            raise BlobStoreUnavailableError(str(error)) from error
        raise


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _info(sha256: str, path: Path) -> BlobInfo | None:
    """Return what is known of a file, or None if it has gone."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return BlobInfo(sha256, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def _make_folder(folder: Path) -> set[Path]:
    """Create `folder` and return the folders whose entries change: itself, and parents of created ones."""
    changed = {folder}
    while not folder.is_dir():
        changed.add(folder.parent)
        folder = folder.parent
    for missing in sorted(changed):
        missing.mkdir(exist_ok=True)
    return changed


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
