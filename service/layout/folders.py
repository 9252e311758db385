"""Reading a folder on this machine."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from service.layout.errors import LayoutError
from service.layout.layouts import Entry, Layout
from service.layout.names import HEAD_BYTES, is_passed_over, needs_look
from service.layout.reading import read_layout
from service.layout.tables import MAX_TABLE_BYTES, Table, is_table_name

MAX_FILES = 200_000
"""Files looked at before a folder is taken for a whole disk."""


def read_folder(folder: Path, *, use_splits: bool = True, listed: Table | None = None) -> Layout:
    """Say which files of a folder are images of which class.

    Links are followed; a folder that was met already is not entered again.

    Args:
        folder: Where they lie.
        use_splits: See `read_layout`.
        listed: See `read_layout`.

    Raises:
        LayoutError: If it is no folder, cannot be read, or its layout is not clear.
    """
    if not folder.is_dir():
        raise LayoutError(f"There is no folder {folder}.")
    entries = [Entry(path, _head(folder / path)) for path in _files(folder)]
    layout = read_layout(entries, use_splits=use_splits, listed=listed)
    for image in layout.images:
        _require_unicode(image.path)
    return layout


def _require_unicode(path: PurePosixPath) -> None:
    """Refuse a name that is no text, as disks of other systems have them, since it could not be sent or shown."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = ascii(str(path))
        raise LayoutError(
            f"The name {shown} is not UTF-8: rename it (`convmv` does so for a whole folder).",
            (shown,),
        ) from error


def _files(folder: Path) -> list[PurePosixPath]:
    paths: list[PurePosixPath] = []
    for path in _walk(folder):
        if len(paths) >= MAX_FILES:
            raise LayoutError(
                f"{folder} holds more than {MAX_FILES} files: name the folder of the images."
            )
        paths.append(PurePosixPath(path.relative_to(folder).as_posix()))
    return sorted(paths)


def _walk(folder: Path) -> Iterator[Path]:
    def stop(error: OSError) -> None:
        raise LayoutError(f"{error.filename} cannot be read: {error.strerror}.") from error

    seen: set[tuple[int, int]] = set()
    for root, folders, files in os.walk(folder, followlinks=True, onerror=stop):
        status = Path(root).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        hidden = [name for name in folders if is_passed_over(PurePosixPath(name))]
        for name in hidden:
            folders.remove(name)
        for name in files:
            path = Path(root) / name
            if path.is_file():
                yield path


def _head(path: Path) -> bytes:
    """Return the first bytes of a file; of a table, all of it. A name that says what it is saves the look."""
    if is_table_name(path.name):
        size = MAX_TABLE_BYTES + 1
    elif needs_look(PurePosixPath(path.name)):
        size = HEAD_BYTES
    else:
        return b""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise LayoutError(f"{path} cannot be read: {error.strerror}.") from error
