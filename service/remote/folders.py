"""Labelled images on their way to the service: in memory, or a folder as one tar archive."""

import re
import tarfile
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

SPOOL_BYTES = 32 * 1024 * 1024
"""An archive up to this size stays in memory; a larger one goes to a temporary file."""
SPLITS = frozenset({"train", "eval"})
JUNK = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
"""What file managers leave behind. The service skips it too: left out here, its indexes are ours."""


class EmptyFolderError(Exception):
    """A folder holds no labelled file, or is not there."""


@dataclass(frozen=True)
class LabelledImage:
    """One encoded image (PNG, JPEG, ...) with its label."""

    data: bytes
    label: str
    split: Literal["auto", "train", "eval"] = "auto"


def labelled_files(folder: Path) -> list[Path]:
    """Return the files `label/file` or `train|eval/label/file` of a folder, but no hidden ones.

    Raises:
        EmptyFolderError: If there is none, or no such folder.
    """
    if not folder.is_dir():
        raise EmptyFolderError(f"There is no folder {folder}.")
    top = {path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != "."}
    pattern = "*/*/*" if top and top <= SPLITS else "*/*"
    found = sorted(
        path
        for path in folder.glob(pattern)
        if path.is_file() and not _is_passed_over(path.relative_to(folder))
    )
    if not found:
        raise EmptyFolderError(
            f"{folder} holds no labelled image: put them in one folder a label, as in "
            f"{folder.name}/heron/a.jpg."
        )
    return found


def sent_file(files: Sequence[Path], entry: Mapping[str, Any]) -> Path | None:
    """Return which of the `labelled_files` of a folder the service speaks of; None if it is none of them.

    Args:
        files: All files, in the order they were sent.
        entry: Of `errors`, `rejected` or `quarantined`.
    """
    if "prediction" in entry:  # an image of feedback, which has an index of its own
        return None
    found = re.fullmatch(r"/images/([0-9]{1,9})", str(entry.get("pointer", "")))
    index = int(found[1]) if found else entry.get("index")
    if not isinstance(index, int) or not 0 <= index < len(files):
        return None
    path, name = files[index], entry.get("filename")
    # The folder may have changed since.
    is_it = name is None or unicodedata.normalize("NFC", path.name) == name
    return path if is_it else None


def _is_passed_over(path: Path) -> bool:
    return any(part[0] == "." or part in JUNK for part in path.parts)


@contextmanager
def tar_of_folder(folder: Path) -> Iterator[IO[bytes]]:
    """Pack the labelled files of `folder` into a tar archive, which is gone when the block ends.

    Links are followed and packed as the files they name; owners, modes and times are left out, so
    the same images give the same bytes.
    """
    files = labelled_files(folder)
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        with tarfile.open(fileobj=spool, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path in files:
                entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
                entry.size = path.stat().st_size
                with path.open("rb") as data:
                    archive.addfile(entry, data)
        spool.seek(0)
        yield spool
