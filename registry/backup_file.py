"""The file of a backup: an uncompressed tar of `backup.json`, `tables/…`, `blobs/…`, and last `sums.json`.

Any tar program can look into it. Reading it here is stricter than a tar program: only regular files of the names that
we write, in plain headers, each with the SHA-256 that `sums.json` gives for it.
"""

import errno
import hashlib
import json
import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol

from registry.errors import BackupDamagedError, BackupError

HEAD, SUMS = "backup.json", "sums.json"
MEMBER = re.compile(r"backup\.json|sums\.json|tables/[a-z_]{1,63}\.copy|blobs/[0-9a-f]{64}")
MAX_JSON_BYTES = 256 << 20
"""Of `backup.json` and `sums.json`, which are read whole: enough for a million blobs."""
CHUNK_BYTES = 1 << 20


class Digest(Protocol):
    """What `hashlib` returns."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes in."""

    def hexdigest(self) -> str:
        """Return the digest so far."""


class BackupWriter:
    """Writes members, and sums them up."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sums: dict[str, str] = {}
        self.size_bytes = 0

    @property
    def n_blobs(self) -> int:
        """How many blobs have been added."""
        return sum(name.startswith("blobs/") for name in self._sums)

    def add(self, name: str, data: bytes) -> None:
        """Add a member."""
        self._header(name, len(data))
        self._sums[name] = hashlib.sha256(data).hexdigest()
        self._write(data)
        self._pad(len(data))

    def add_file(self, name: str, source: IO[bytes]) -> None:
        """Add a member from an open file, from its start."""
        size = source.seek(0, os.SEEK_END)
        source.seek(0)
        self._header(name, size)
        digest = hashlib.sha256()
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            self._write(chunk)
        self._sums[name] = digest.hexdigest()
        self._pad(size)

    def finish(self, missing: list[str]) -> None:
        """Add the sums of all members and the blobs that are left out, and the tar's end."""
        sums = json.dumps({"members": self._sums, "missing": missing}, indent=0)
        self.add(SUMS, sums.encode())
        self._write(bytes(2 * tarfile.BLOCKSIZE))

    def _header(self, name: str, size: int) -> None:
        info = tarfile.TarInfo(name)
        info.size = size
        info.mode = 0o600
        # GNU's headers have room for any size, and none of the extensions that a reader would have to follow.
        self._write(info.tobuf(tarfile.GNU_FORMAT))

    def _pad(self, size: int) -> None:
        self._write(bytes(-size % tarfile.BLOCKSIZE))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self.size_bytes += len(data)


class Member:
    """One file in a backup, while the reader stands at it."""

    def __init__(self, name: str, size: int, file: IO[bytes], digest: Digest) -> None:
        self.name = name
        self.size = size
        self._file = file
        self._digest = digest
        self._left = size

    def chunks(self) -> Iterator[bytes]:
        """Read it piece by piece.

        Raises:
            BackupDamagedError: If the file ends before it does.
        """
        while self._left:
            chunk = self._file.read(min(CHUNK_BYTES, self._left))
            if not chunk:
                raise BackupDamagedError(f"The backup is cut off within {self.name}.")
            self._left -= len(chunk)
            self._digest.update(chunk)
            yield chunk

    def read(self) -> bytes:
        """Read all of it."""
        return b"".join(self.chunks())


class BackupReader:
    """Reads members in order, and sums them up for `check`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digests: dict[str, Digest] = {}
        self._sums: dict[str, Any] = {}

    def members(self) -> Iterator[Member]:
        """Go through the members once; `sums.json` is read here and not returned.

        Raises:
            BackupDamagedError: If there is anything that we would not have written.
        """
        self._file.seek(0)
        while (found := self._next_header()) is not None:
            name, size = found
            if name in self._digests or SUMS in self._digests:
                raise BackupDamagedError(f"The backup holds {name} where it may not be.")
            digest = self._digests[name] = hashlib.sha256()
            member = Member(name, size, self._file, digest)
            if name in (HEAD, SUMS) and size > MAX_JSON_BYTES:
                raise BackupDamagedError(f"{name} in the backup is too large.")
            if name == SUMS:
                self._sums = parse_json(member.read(), SUMS)
            else:
                yield member
                for _ in member.chunks():
                    pass
            self._file.seek(-size % tarfile.BLOCKSIZE, os.SEEK_CUR)

    def check(self) -> list[str]:
        """Check all members against the sums, once `members` is through, and return the blobs that were left out.

        Raises:
            BackupDamagedError: If one differs, or is missing.
        """
        if SUMS not in self._digests:
            raise BackupDamagedError("The backup is cut off: its sums are missing.")
        found = {name: digest.hexdigest() for name, digest in self._digests.items() if name != SUMS}
        sums, missing = self._sums.get("members"), self._sums.get("missing")
        if not isinstance(sums, dict) or not isinstance(missing, list):
            raise BackupDamagedError(f"{SUMS} in the backup is not one of ours.")
        for name in [*sums, *found]:
            blob = name.removeprefix("blobs/")
            if found.get(name) != sums.get(name) or (blob != name and found.get(name) != blob):
                raise BackupDamagedError(f"The backup is damaged: {name} does not match its sum.")
        return [str(sha256) for sha256 in missing]

    def _next_header(self) -> tuple[str, int] | None:
        """Return name and size of the next member, or None at the tar's end."""
        block = self._file.read(tarfile.BLOCKSIZE)
        if block == bytes(tarfile.BLOCKSIZE):
            return None
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.HeaderError, ValueError) as error:
            reason = "is cut off" if self._digests else "is none of ours"
            raise BackupDamagedError(f"The backup {reason}: {error}.") from error
        if info.type != tarfile.REGTYPE or not MEMBER.fullmatch(info.name) or info.size < 0:
            raise BackupDamagedError(
                f"The file is no backup of ours: it holds {info.name[:100]!r}."
            )
        if not self._digests and info.name != HEAD:
            raise BackupDamagedError(f"The file is no backup of ours: {HEAD} does not come first.")
        return info.name, info.size


def parse_json(data: bytes, name: str) -> dict[str, Any]:
    """Parse a JSON object of a backup.

    Raises:
        BackupDamagedError: If it is none.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BackupDamagedError(f"{name} in the backup is not JSON.") from error
    if not isinstance(value, dict):
        raise BackupDamagedError(f"{name} in the backup is not one of ours.")
    return value


@contextmanager
def write_whole(path: Path) -> Iterator[IO[bytes]]:
    """Write a file that appears complete and durable, or not at all; only its owner may read it.

    Raises:
        BackupError: If it cannot be written.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            partial.unlink()
