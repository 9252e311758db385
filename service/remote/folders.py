"""Labelled images on their way to the service: in memory, or a folder as one tar archive."""

import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

SPOOL_BYTES = 32 * 1024 * 1024
"""An archive up to this size stays in memory; a larger one goes to a temporary file."""
SPLITS = frozenset({"train", "eval"})


class EmptyFolderError(Exception):
    """A folder holds no labelled file."""


@dataclass(frozen=True)
class LabelledImage:
    """One encoded image (PNG, JPEG, ...) with its label."""

    data: bytes
    label: str
    split: Literal["auto", "train", "eval"] = "auto"


def labelled_files(folder: Path) -> list[Path]:
    """Return the files `label/file` or `train|eval/label/file` of a folder, but no hidden ones.

    Raises:
        EmptyFolderError: If there is none.
    """
    top = {path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != "."}
    pattern = "*/*/*" if top and top <= SPLITS else "*/*"
    found = sorted(
        path
        for path in folder.glob(pattern)
        if path.is_file() and not any(part[0] == "." for part in path.relative_to(folder).parts)
    )
    if not found:
        raise EmptyFolderError(
            f"{folder} holds no labelled image: put them in one folder a label, as in "
            f"{folder.name}/heron/a.jpg."
        )
    return found


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
