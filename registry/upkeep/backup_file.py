"""The file of a backup: an uncompressed tar of `backup.json`, `tables/…`, `blobs/…`, and last `sums.json`."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from registry.errors import BackupDamagedError, BackupError
from registry.upkeep.sealed_tar import SealedTarReader, SealedTarWriter, TarForm

HEAD = "backup.json"
FORM = TarForm(
    noun="backup",
    head=HEAD,
    member=re.compile(
        r"backup\.json|sums\.json|tables/[a-z_]{1,63}\.copy|blobs/(?P<sha256>[0-9a-f]{64})"
    ),
    max_json_bytes=256 << 20,  # enough for a million blobs
    damaged=BackupDamagedError,
)


class BackupWriter(SealedTarWriter):
    """Writes members, and sums them up."""

    @property
    def n_blobs(self) -> int:
        """How many blobs have been added."""
        return sum(name.startswith("blobs/") for name in self.sums)

    def finish(self, missing: list[str]) -> None:
        """Add the sums of all members and the blobs that are left out, and the tar's end."""
        self.seal(missing=missing)


class BackupReader(SealedTarReader):
    """Reads members in order, and sums them up for `missing`."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, FORM)

    def missing(self) -> list[str]:
        """Check all members against the sums, once `members` is through, and return the blobs that were left out.

        Raises:
            BackupDamagedError: If one differs, or is missing.
        """
        missing = self.check().get("missing")
        if not isinstance(missing, list):
            raise BackupDamagedError("sums.json in the backup is not one of ours.")
        return [str(sha256) for sha256 in missing]


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
