"""Which rows of a table name which images."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from service.layout.errors import TableError
from service.layout.names import fold, has_image_suffix, split_of
from service.layout.tables import Row, Table

MAX_COMPARISONS = 1_000_000
"""Images looked at for the rows of one table: more only where very many have one name."""


@dataclass(frozen=True)
class Match:
    """Which rows name which images."""

    images: Mapping[int, Row]
    """By the place of the image in the list."""
    missing: tuple[Row, ...]
    """Rows that name no image."""


class ImageIndex:
    """The images there are, by all that a table may call them."""

    def __init__(self, paths: Sequence[PurePosixPath]) -> None:
        self.paths = paths
        folded: dict[PurePosixPath, tuple[str, ...]] = {}
        for path in paths:
            if path.parent not in folded:
                folded[path.parent] = tuple(map(fold, path.parent.parts))
        self.exact = {str(path): index for index, path in enumerate(paths)}
        self.whole = {fold(str(path)): index for index, path in enumerate(paths)}
        self.folders = [folded[path.parent] for path in paths]
        self._by_name = _grouped([fold(path.name) for path in paths], self.folders)
        self._by_stem = _grouped([fold(path.stem) for path in paths], self.folders)

    def near(self, name: str, folder: str | None) -> Sequence[int]:
        """Return the images of a name, with or without its suffix, that may lie in a folder.

        Args:
            name: Folded; with the suffix of an image it also stands for one in another format.
            folder: The innermost, folded; None if it is not said.
        """
        places = (folder, "") if folder is not None else (None,)
        stem = PurePosixPath(name).stem if has_image_suffix(name) else None
        for group, wanted in ((self._by_name, name), (self._by_stem, name), (self._by_stem, stem)):
            indexes = [index for place in places for index in group.get((wanted, place), ())]
            if indexes:
                return indexes
        return ()


def match(table: Table, index: ImageIndex) -> Match:
    """Find the image that each row names: by its path beside the table, by the end of its path, without its suffix.

    Raises:
        TableError: If two rows call one image by different labels, or a row fits several images.
    """
    finder = _Finder(index, table)
    matched: dict[int, Row] = {}
    missing: list[Row] = []
    for row in table.rows:
        at = finder.find(row.file)
        if at is None:
            missing.append(row)
        elif at in matched and fold(matched[at].label) != fold(row.label):
            path = str(index.paths[at])
            raise TableError(
                f"{path} has two labels in the table: {matched[at].label!r} and {row.label!r}.",
                (path,),
            )
        else:
            matched[at] = row
    return Match(matched, tuple(missing))


def _grouped(
    names: Sequence[str], folders: Sequence[tuple[str, ...]]
) -> dict[tuple[str | None, str | None], list[int]]:
    """Return indices by name alone, and by name and innermost folder (an empty one above all)."""
    groups: dict[tuple[str | None, str | None], list[int]] = defaultdict(list)
    for index, (name, above) in enumerate(zip(names, folders, strict=True)):
        groups[name, None].append(index)
        groups[name, above[-1] if above else ""].append(index)
    return dict(groups)


class _Finder:
    """Finds images by what one table calls them."""

    def __init__(self, index: ImageIndex, table: Table) -> None:
        self._index = index
        self._beside = PurePosixPath(fold(str(table.path.parent))) if table.path else None
        self._split = table.split
        self._n_compared = 0

    def find(self, file: str) -> int | None:
        """Return the index of the image that a row means; None if it is not there."""
        if file in self._index.exact:  # beside a.JPG there may be a.jpg
            return self._index.exact[file]
        wanted = PurePosixPath(fold(_file_of(file)))
        for whole in (wanted if self._beside is None else self._beside / wanted, wanted):
            if str(whole) in self._index.whole:
                return self._index.whole[str(whole)]
        return self._only(file, self._fitting(wanted))

    def _fitting(self, wanted: PurePosixPath) -> list[int]:
        above = wanted.parts[:-1]
        near = self._index.near(wanted.name, above[-1] if above else None)
        self._n_compared += len(near)
        if self._n_compared > MAX_COMPARISONS:
            raise TableError("Too many images have the names in the table: write whole paths.")
        fitting = [index for index in near if self._ends(index, above)]
        if len(fitting) > 1 and self._split is not None:
            return [index for index in fitting if self._is_of_split(index)] or fitting
        return fitting

    def _only(self, file: str, fitting: Sequence[int]) -> int | None:
        if len(fitting) > 1:
            first, second = (self._index.paths[index] for index in fitting[:2])
            raise TableError(
                f"The table's {file!r} fits {first} and {second}: write whole paths.",
                (str(first), str(second)),
            )
        return fitting[0] if fitting else None

    def _is_of_split(self, index: int) -> bool:
        return any(split_of(part) == self._split for part in self._index.folders[index])

    def _ends(self, index: int, above: tuple[str, ...]) -> bool:
        folders = self._index.folders[index]
        shared = min(len(folders), len(above))
        return not shared or folders[-shared:] == above[-shared:]


def _file_of(file: str) -> str:
    """Return the path in what a table calls a file; of an address, the file's name."""
    if "://" not in file:
        return file.replace("\\", "/")
    return file.partition("?")[0].partition("#")[0].rsplit("/", 1)[-1]
