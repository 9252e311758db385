"""A folder that is watched: which of its files are new and whole, and what is done with already.

A file is whole once its size and time have not changed for a while: whoever writes it does not say when it is done. It
is looked at by the clock, because network shares, cameras and containers tell nobody of changes.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from service.cli.image_files import files_below, looks_like_image, shown

Mark = tuple[int, int]
"""Size of a file in bytes, and when it was changed, in nanoseconds."""
UNKNOWN_FOLDER = "unknown"
"""Where images go that look like no class."""


@dataclass(frozen=True)
class Found:
    """A file as it was when it was looked at."""

    path: Path
    mark: Mark


class Done:
    """What is done with, in a file of lines: one that is added is there after a kill too.

    A file that is changed afterwards is new again.
    """

    def __init__(self, file: Path, folder: Path) -> None:
        self._file = file
        self._folder = folder
        self._marks: dict[str, Mark] = {}
        text = ""
        with suppress(FileNotFoundError):
            text = file.read_text("utf-8")
        self._is_cut_off = bool(text) and not text.endswith("\n")
        """Whether a kill has left the last line unfinished."""
        for line in text.splitlines():
            with suppress(ValueError, TypeError):
                name, size, changed = json.loads(line)
                self._marks[name] = (size, changed)

    def has(self, found: Found) -> bool:
        """Return whether a file is done with, as it is now."""
        return self._marks.get(self._name(found.path)) == found.mark

    def add(self, files: Iterable[Found]) -> None:
        """Note files that are done with."""
        lines = ["\n"] if self._is_cut_off else []
        self._is_cut_off = False
        for found in files:
            name = self._name(found.path)
            self._marks[name] = found.mark
            lines.append(json.dumps([name, *found.mark]) + "\n")
        if lines:
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write("".join(lines))
                stream.flush()
                os.fsync(stream.fileno())

    def _name(self, path: Path) -> str:
        return shown(path.relative_to(self._folder))


class WatchedFolder:
    """Finds the images of a folder that are whole and not done with."""

    def __init__(
        self,
        folder: Path,
        done: Done,
        *,
        settle_s: float,
        clock: Callable[[], float],
        leave_out: Path | None = None,
    ) -> None:
        """Look at nothing yet.

        Args:
            folder: The folder.
            done: What is done with.
            settle_s: How long a file must not have changed.
            clock: Seconds that only grow.
            leave_out: A folder below it whose files do not count, such as one that images are moved to.
        """
        self._folder = folder
        self._done = done
        self._settle_s = settle_s
        self._clock = clock
        self._leave_out = None if leave_out is None else leave_out.resolve()
        self._seen: dict[Path, tuple[Mark, float]] = {}
        self._others: dict[Path, Mark] = {}
        """Files that are no images."""
        self.changed_at = clock()
        """When a file that is not done with was last seen to come or change."""

    def look(self) -> tuple[list[Found], int]:
        """Return the images that are whole, by path, and how many files are not yet."""
        now, ready, n_waiting = self._clock(), list[Found](), 0
        seen: dict[Path, tuple[Mark, float]] = {}
        for path in files_below(self._folder):
            found = self._find(path)
            if found is None or self._done.has(found) or self._others.get(path) == found.mark:
                continue
            before, since = self._seen.get(path, (None, now))
            if before != found.mark:
                since = self.changed_at = now
            seen[path] = (found.mark, since)
            if now - since < self._settle_s or not found.mark[0]:
                n_waiting += 1
            elif looks_like_image(path):
                ready.append(found)
            else:
                self._others[path] = found.mark
        self._seen = seen
        return ready, n_waiting

    def _find(self, path: Path) -> Found | None:
        if self._leave_out is not None and path.resolve().is_relative_to(self._leave_out):
            return None
        try:
            status = path.stat()
        except OSError:  # it is gone, or closed to us
            return None
        return Found(path, (status.st_size, status.st_mtime_ns))


def move_to(file: Path, label: str, folder: Path) -> Path:
    """Move a file into the folder of a class below `folder`, beside what is there under its name; return where it is.

    Raises:
        OSError: If it cannot be moved.
    """
    target = folder / folder_name(label)
    target.mkdir(parents=True, exist_ok=True)
    place, number = target / file.name, 1
    while place.exists():
        number += 1
        place = target / f"{file.stem}-{number}{file.suffix}"
    shutil.move(file, place)
    return place


def folder_name(label: str) -> str:
    """Return the name of a class's folder: the label, without what cannot be in a name.

    Example:
        >>> folder_name("grey heron"), folder_name("a/b"), folder_name("..")
        ('grey heron', 'a-b', '-')
    """
    name = "".join("-" if letter in '/\\:*?"<>|\0' else letter for letter in label)
    return name.strip(". ") or "-"
