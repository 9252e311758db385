"""Content-addressed blobs: bytes kept under their SHA-256, written once, never changed."""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from registry.errors import BlobDamagedError, BlobMissingError, StorageFullError

BATCH_BYTES = 32 << 20
"""`put_many` writes about this much before it makes it durable: bounds memory when blobs come as a generator."""


class BlobStore(Protocol):
    """What service and worker need of a blob store. Safe to use from several threads and processes."""

    def put(self, data: bytes) -> str:
        """Keep `data` and return its SHA-256 in hex. Durable when it returns; a no-op if it is there already.

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

    def size(self, sha256: str) -> int:
        """Return the size of a blob in bytes.

        Raises:
            BlobMissingError: If there is none.
        """
        ...

    def delete(self, sha256: str) -> None:
        """Remove a blob; a no-op if there is none."""
        ...

    def require_space(self, size_bytes: int, *, floor_bytes: int) -> None:
        """Check that `floor_bytes` stay free after writing `size_bytes`.

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
                if sha256 not in batch and not self.exists(sha256):
                    batch[sha256] = self._write_temporary(data)
                    batch_bytes += len(data)
                if batch_bytes >= BATCH_BYTES:
                    self._make_durable(batch)
                    batch_bytes = 0
            self._make_durable(batch)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFullError from error
            raise
        finally:
            for temporary in batch.values():
                temporary.unlink(missing_ok=True)
        return hashes

    def get(self, sha256: str) -> bytes:
        """See `BlobStore.get`."""
        try:
            data = self._path(sha256).read_bytes()
        except FileNotFoundError as error:
            raise BlobMissingError(sha256) from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise BlobDamagedError(sha256)
        return data

    def exists(self, sha256: str) -> bool:
        """See `BlobStore.exists`."""
        return self._path(sha256).is_file()

    def size(self, sha256: str) -> int:
        """See `BlobStore.size`."""
        try:
            return self._path(sha256).stat().st_size
        except FileNotFoundError as error:
            raise BlobMissingError(sha256) from error

    def delete(self, sha256: str) -> None:
        """See `BlobStore.delete`."""
        self._path(sha256).unlink(missing_ok=True)

    def require_space(self, size_bytes: int, *, floor_bytes: int) -> None:
        """See `BlobStore.require_space`."""
        self.root.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self.root).free - size_bytes < floor_bytes:
            raise StorageFullError

    def _path(self, sha256: str) -> Path:
        # Hashes come from our own rows; this keeps a damaged one from ever naming another file.
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            raise BlobMissingError(sha256)
        return self.root / "sha256" / sha256[:2] / sha256[2:]

    def _write_temporary(self, data: bytes) -> Path:
        folder = self.root / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
        except OSError:
            Path(name).unlink()
            raise
        return Path(name)

    def _make_durable(self, batch: dict[str, Path]) -> None:
        """Sync, rename and empty `batch`. The first sync writes the journal for all, so the rest are cheap."""
        for temporary in batch.values():
            _sync(temporary)
        folders: set[Path] = set()
        for sha256 in list(batch):
            path = self._path(sha256)
            folders |= _make_folder(path.parent)
            batch.pop(sha256).rename(path)
        for folder in folders:
            _sync(folder)


def open_blob_store(location: str) -> BlobStore:
    """Open the blob store at a folder or `file:` URL. Creates nothing until the first write.

    Raises:
        ValueError: If the URL has another scheme.
    """
    if "://" not in location and not location.startswith("file:"):
        return LocalBlobStore(Path(location))
    url = urlsplit(location)
    if url.scheme != "file" or url.netloc not in ("", "localhost"):
        raise ValueError("BLOB_URL must be a folder or a file: URL, for example file:///srv/blobs.")
    return LocalBlobStore(Path(unquote(url.path)))


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
