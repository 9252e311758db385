"""The images that a command is to ask about: files, folders of any depth, and the standard input."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from service.layout.names import HEAD_BYTES, is_passed_over, may_be_image

STDIN = Path("-")


@dataclass(frozen=True)
class FoundFiles:
    """What was found where the images should be."""

    images: list[Path]
    """In the order in which they were named; those of a folder by path."""
    others: list[Path]
    """Files in the folders that are no images, by name or by content."""
    has_folder: bool


def find_images(places: Sequence[Path]) -> FoundFiles:
    """Return the files that are named, and the images in the folders that are named.

    Hidden files, and what systems and editors leave behind, are passed over in folders, as `learn` passes over them.
    """
    images: list[Path] = []
    others: list[Path] = []
    folders = [place for place in places if place != STDIN and place.is_dir()]
    for place in dict.fromkeys(places):
        if place not in folders:
            images.append(place)
            continue
        for file in files_below(place):
            (images if looks_like_image(file) else others).append(file)
    return FoundFiles(images, others, bool(folders))


def read_image(file: Path) -> bytes:
    """Return the bytes of a file, or of the standard input.

    Raises:
        OSError: If it cannot be read.
    """
    return sys.stdin.buffer.read() if file == STDIN else file.read_bytes()


def size_of(file: Path) -> int:
    """Return the size of a file in bytes, without reading it; 0 of the standard input.

    Raises:
        OSError: If it is not there any more.
    """
    return 0 if file == STDIN else file.stat().st_size


def shown(file: Path) -> str:
    """Return the path of a file in letters that can be printed and sent, also if its name is in no known encoding."""
    return os.fsencode(file).decode("utf-8", "replace")


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, and the folders that are closed to us; links are followed, into no folder twice.

    Sorted within each folder, its files before its folders.
    """
    closed: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for where, folders, files in os.walk(
        folder, followlinks=True, onerror=lambda error: closed.append(Path(error.filename))
    ):
        status = Path(where).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not is_passed_over(PurePosixPath(name)))
        for name in sorted(files):
            file = Path(where, name)
            if not is_passed_over(PurePosixPath(name)) and file.is_file():
                yield file
    yield from closed


def looks_like_image(file: Path) -> bool:
    """Return whether a file is an image, by its name or its first bytes; also one that cannot be read."""
    try:
        with file.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError:
        return True  # to be asked about, and named then as one that cannot be read
    return may_be_image(PurePosixPath(file.name), head)
