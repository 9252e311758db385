"""Labelled images on their way to the service: in memory, or a folder as one tar archive."""

import csv
import io
import re
import tarfile
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from service.layout.by_table import require_one_label
from service.layout.cells import legible
from service.layout.errors import LayoutError, TableError
from service.layout.folders import read_folder
from service.layout.layouts import Layout
from service.layout.tables import Table, parse_table

SPOOL_BYTES = 32 * 1024 * 1024
"""An archive up to this size stays in memory; a larger one goes to a temporary file."""
MANIFEST = "manifest.csv"
"""The list of files and labels that goes first: what was understood here is what is learned there."""
EmptyFolderError = LayoutError
"""The name it had when nothing but an empty folder was refused."""


@dataclass(frozen=True)
class LabelledImage:
    """One encoded image (PNG, JPEG, ...) with its label."""

    data: bytes
    label: str
    split: Literal["auto", "train", "eval"] = "auto"


def read_list(file: Path) -> Table:
    """Read a list of files with their labels: CSV, JSON, or lines `path label`.

    Raises:
        TableError: If it cannot be read, or names no files and labels.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise TableError(f"{file} cannot be read: {error.strerror}.") from error
    table = parse_table(data, None)
    if table is None or not table.rows:
        raise TableError(
            f"{file} names no files and labels: it needs a column of each, as in filename,label."
        )
    require_one_label(table)
    return table


def read_to_learn(folder: Path, manifest: Path | None, *, use_splits: bool) -> Layout:
    """Read what is to be learned from a folder.

    Args:
        folder: Where the images are.
        manifest: A list of files with their labels, which decides alone.
        use_splits: Whether folders called `train`, `test` and the like are splits.

    Raises:
        LayoutError: If there is nothing to learn from in the folder, or more than one way to read it.
    """
    listed = None if manifest is None else read_list(manifest)
    layout = read_folder(folder, use_splits=use_splits, listed=listed)
    layout.require_training()
    return layout


def sent_file(files: Sequence[Path], entry: Mapping[str, Any]) -> Path | None:
    """Return which file of a folder the service speaks of; None if it is none of them.

    Args:
        files: The images, in the order they were sent.
        entry: Of `errors`, `rejected` or `quarantined`.
    """
    if "prediction" in entry:  # an image of feedback, which has an index of its own
        return None
    match = re.fullmatch(r"/images/([0-9]{1,9})", str(entry.get("pointer", "")))
    index = int(match[1]) if match else entry.get("index")
    if not isinstance(index, int) or not 0 <= index < len(files):
        return None
    path, name = files[index], entry.get("filename")
    # The folder may have changed since.
    is_it = name is None or unicodedata.normalize("NFC", path.name) == name
    return path if is_it else None


@contextmanager
def tar_of_layout(folder: Path, layout: Layout) -> Iterator[IO[bytes]]:
    """Pack the images of a folder into a tar archive with a list of their labels. It is gone when the block ends.

    Links are followed and packed as the files they name; owners, modes and times are left out, so the same images give
    the same bytes.
    """
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        with tarfile.open(fileobj=spool, mode="w", format=tarfile.PAX_FORMAT) as archive:
            _add(archive, MANIFEST, io.BytesIO(_manifest(layout)))
            for image in layout.images:
                try:
                    with (folder / image.path).open("rb") as data:
                        _add(archive, image.path.as_posix(), data)
                except OSError as error:
                    path = folder / image.path
                    raise LayoutError(f"{path} cannot be read: {error.strerror}.") from error
        spool.seek(0)
        yield spool


def _add(archive: tarfile.TarFile, name: str, data: IO[bytes]) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = data.seek(0, io.SEEK_END)
    data.seek(0)
    archive.addfile(entry, data)


def _manifest(layout: Layout) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(("file_name", "label", "split"))
    writer.writerows(
        (legible(image.path.as_posix()), legible(image.label), image.split)
        for image in layout.images
    )
    return text.getvalue().encode()
