"""The data directory: made if it is missing, and refused in one sentence if it is of no use."""

import errno
import tempfile
from pathlib import Path

from registry.errors import DataDirUnusableError

_REASONS = {
    errno.EACCES: "this user may not write there",
    errno.EPERM: "this user may not write there",
    errno.EROFS: "its disk is mounted read-only",
    errno.ENOSPC: "its disk is full",
    errno.EDQUOT: "the quota of its disk is used up",
    errno.ENOTDIR: "a file is in its place, or on the way to it",
    errno.EEXIST: "a file is in its place, or on the way to it",
    errno.ENAMETOOLONG: "its name is too long for this file system",
    errno.ELOOP: "a link on the way to it leads in circles",
    errno.ENOENT: "a link in its place, or on the way to it, leads nowhere",
}


def prepare_data_dir(data_dir: Path) -> None:
    """Make the data directory if it is missing, and prove that a file can be written there.

    Raises:
        DataDirUnusableError: If one or the other fails.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        # Not by its permissions: those do not bind root, and do not know of disks mounted read-only.
        with tempfile.TemporaryFile(dir=data_dir):
            pass
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        raise DataDirUnusableError(
            f"The data directory {data_dir} cannot be used: {reason}. Set FILOPODIA_DATA_DIR to a folder of yours."
        ) from error
