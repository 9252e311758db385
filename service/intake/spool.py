"""Where the files of an upload wait to be decoded: one unlinked temporary file for all of them.

One file, so that 20,000 images need one descriptor; on disk, so that 2 GiB of them need no memory.
"""

import errno
import os
from hashlib import sha256
from tempfile import SpooledTemporaryFile
from threading import Lock
from types import TracebackType
from typing import Self

from service.problems import Problem

_IN_MEMORY = 1024 * 1024
"""Small uploads never touch the disk; hundreds of large ones at once must not add up in memory."""


class Spool:
    """Bytes appended by the event loop, read back in slices by decoder threads."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 (closed by __exit__)
        self._lock = Lock()
        self._size = 0

    def append(self, data: bytes) -> None:
        """Add bytes at the end.

        Raises:
            Problem: `insufficient-storage`, if the disk for temporary files is full.
        """
        with self._lock:
            try:
                self._file.seek(0, os.SEEK_END)
                self._file.write(data)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise Problem("insufficient-storage") from error
                raise
            self._size += len(data)

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._size

    def read(self, offset: int, size: int) -> bytes:
        """Return a slice."""
        with self._lock:
            self._file.seek(offset)
            return self._file.read(size)

    def digest(self) -> str:
        """Return the SHA-256 of everything, without reading it at once."""
        result = sha256()
        for offset in range(0, self._size, 1 << 20):
            result.update(self.read(offset, 1 << 20))
        return result.hexdigest()

    @property
    def file(self) -> SpooledTemporaryFile[bytes]:
        """The file itself, for archive readers."""
        self._file.seek(0)
        return self._file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
