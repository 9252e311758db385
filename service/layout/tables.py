"""Tables of labels beside images: which rows name which files.

The forms that are common: `labels.csv` and `metadata.csv` with a header, commas, semicolons or tabs; lines of JSON as
`datasets` writes them; lists `path label` without a header. Which column names the files is seen by what it holds.
"""

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import PurePosixPath
from typing import Any

from service.layout.errors import TableError
from service.layout.names import AUTO, EVAL, TRAIN, fold, split_of


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


MAX_TABLE_BYTES = 8 * 1024 * 1024
_STEMS = _words(
    "labels label metadata manifest train training train_labels trainlabels test validation valid val annotations "
    "annotation index classes_by_file image_labels images"
)
_STEM_ENDS = ("_labels", "_metadata", "-labels", "-metadata")
_SUFFIXES = frozenset((".csv", ".tsv", ".txt", ".jsonl", ".ndjson"))
_FILE_COLUMNS = _words(
    "file_name filename file image image_name imagename image_path imagepath path filepath file_path img image_id "
    "id name photo picture url"
)
_LABEL_COLUMNS = _words(
    "label class_name classname label_name class labels category category_name species breed variety tag target "
    "name class_id classid label_id labelid"
)
_SPLIT_COLUMNS = _words("split set subset partition usage fold")
_IMAGE_ENDS = tuple(
    f".{end}" for end in _words("jpg jpeg png webp gif bmp heic heif avif tif tiff jfif")
)


@dataclass(frozen=True)
class Row:
    """What a table says of one file."""

    file: str
    label: str
    split: str | None = None
    """`train`, `eval`, or None where it does not say."""


@dataclass(frozen=True)
class Table:
    """A table of labels."""

    path: PurePosixPath | None
    """Where it lies; None if it came by itself."""
    rows: tuple[Row, ...]
    split: str | None = None
    """What all its files are used for, where its place says so."""


@dataclass(frozen=True)
class Match:
    """Which rows name which images."""

    images: Mapping[int, Row]
    """By the place of the image in the list."""
    missing: tuple[Row, ...]
    """Rows that name no image."""


def is_table_name(name: str) -> bool:
    """Return whether a file's name is one that tables of labels have.

    Example:
        >>> is_table_name("Labels.csv"), is_table_name("prices.csv")
        (True, False)
    """
    path = PurePosixPath(fold(name))
    return path.suffix in _SUFFIXES and (path.stem in _STEMS or path.stem.endswith(_STEM_ENDS))


def parse_table(data: bytes, path: PurePosixPath | None) -> Table | None:
    """Read a table; None if no column of files and labels can be told in it.

    Args:
        data: CSV, tab-separated text, lines of JSON, a JSON object `{file: {"label": ...}}`, or lines `path label`.
        path: Where it lies, for messages.

    Raises:
        TableError: If it is no text in UTF-8, or damaged.
    """
    name = path.name if path else "The list"
    if len(data) > MAX_TABLE_BYTES:
        raise TableError(f"{name} has more than {MAX_TABLE_BYTES >> 20} MiB.")
    text = _decoded(data, name)
    is_json = text.lstrip()[:1] in ("{", "[")
    rows = _rows(_json_records(text, name) if is_json else _csv_records(text, name))
    return None if rows is None else Table(path, rows, _place_says(path))


def match(table: Table, paths: Sequence[PurePosixPath]) -> Match:
    """Find the image that each row names: by its path beside the table, by the end of its path, without its suffix.

    Raises:
        TableError: If two rows call one image by different labels, or a row fits several images.
    """
    finder = _Finder(paths, table)
    found: dict[int, Row] = {}
    missing: list[Row] = []
    for row in table.rows:
        index = finder.find(row.file)
        if index is None:
            missing.append(row)
        elif index in found and fold(found[index].label) != fold(row.label):
            raise TableError(
                f"{paths[index]} has two labels in the table: {found[index].label!r} and {row.label!r}.",
                (str(paths[index]),),
            )
        else:
            found[index] = row
    return Match(found, tuple(missing))


class _Finder:
    """Finds images by what a table calls them."""

    def __init__(self, paths: Sequence[PurePosixPath], table: Table) -> None:
        self._beside = table.path.parent if table.path else PurePosixPath()
        self._split = table.split
        self._exact = {str(path): index for index, path in enumerate(paths)}
        self._whole = {fold(str(path)): index for index, path in enumerate(paths)}
        self._paths = paths
        self._by_name: dict[str, list[int]] = defaultdict(list)
        self._by_stem: dict[str, list[int]] = defaultdict(list)
        for index, path in enumerate(paths):
            self._by_name[fold(path.name)].append(index)
            self._by_stem[fold(path.stem)].append(index)

    def find(self, file: str) -> int | None:
        """Return the index of the image that a row means; None if it is not there."""
        if file in self._exact:  # beside a.JPG there may be a.jpg
            return self._exact[file]
        wanted = PurePosixPath(fold(file.replace("\\", "/")))
        for whole in (PurePosixPath(fold(str(self._beside))) / wanted, wanted):
            if str(whole) in self._whole:
                return self._whole[str(whole)]
        near = self._by_name.get(wanted.name) or self._by_stem.get(wanted.name) or []
        fitting = [index for index in near if self._ends(index, wanted)]
        if len(fitting) > 1 and self._split is not None:
            fitting = [index for index in fitting if self._is_of_split(index)] or fitting
        if len(fitting) > 1:
            first, second = (self._paths[index] for index in fitting[:2])
            raise TableError(
                f"The table's {file!r} fits {first} and {second}: write whole paths.",
                (str(first), str(second)),
            )
        return fitting[0] if fitting else None

    def _is_of_split(self, index: int) -> bool:
        return any(split_of(part) == self._split for part in self._paths[index].parent.parts)

    def _ends(self, index: int, wanted: PurePosixPath) -> bool:
        folders = tuple(fold(part) for part in self._paths[index].parent.parts)
        above = wanted.parent.parts
        shared = min(len(folders), len(above))
        return not shared or folders[-shared:] == above[-shared:]


def _place_says(path: PurePosixPath | None) -> str | None:
    """Return what a table's name or folder says that its images are for."""
    if path is None:
        return None
    return split_of(path.stem.removesuffix("_labels")) or split_of(path.parent.name)


def _decoded(data: bytes, name: str) -> str:
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise TableError(f"{name} is not UTF-8: save it as CSV UTF-8.") from error
    if "\0" in text:
        raise TableError(f"{name} is no text.")
    return text


def _json_records(text: str, name: str) -> list[dict[str, str]]:
    try:
        values = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        values = _whole_json(text, name)
    if len(values) == 1 and isinstance(values[0], list):
        values = values[0]
    elif len(values) == 1 and isinstance(values[0], dict):
        values = _as_records(values[0])
    return [
        {fold(str(key)): _cell(value) for key, value in record.items()}
        for record in values
        if isinstance(record, dict)
    ]


def _whole_json(text: str, name: str) -> list[Any]:
    try:
        return [json.loads(text)]
    except (ValueError, RecursionError) as error:
        raise TableError(f"{name} is no JSON.") from error


def _as_records(value: dict[str, Any]) -> list[Any]:
    """Take `{file: label}` and `{file: {label, split}}` apart; a single record stays one."""
    if all(isinstance(entry, dict) for entry in value.values()):
        return [{"file_name": file, **entry} for file, entry in value.items()]
    keys = {fold(key) for key in value}
    if keys & set(_FILE_COLUMNS) and keys & set(_LABEL_COLUMNS):
        return [value]
    return [{"file_name": file, "label": label} for file, label in value.items()]


def _cell(value: object) -> str:
    return "" if value is None else str(value).strip()


def _csv_records(text: str, name: str) -> list[dict[str, str]]:
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return []
    delimiter = max("\t;,", key=lines[0].count)
    if not lines[0].count(delimiter):
        return _spaced_records(lines)
    try:
        table = [
            row for row in csv.reader(StringIO(text, newline=""), delimiter=delimiter) if any(row)
        ]
    except csv.Error as error:
        raise TableError(f"{name} is no table that can be read.") from error
    header = [fold(cell) for cell in table[0]]
    if any(cell.endswith(_IMAGE_ENDS) for cell in header):
        header = _header_of(table[0])
        table = [[], *table]
    return [
        {key: value.strip() for key, value in zip(header, row, strict=False)} for row in table[1:]
    ]


def _header_of(row: Sequence[str]) -> list[str]:
    """Name the columns of a table that has no header, by its first row."""
    names = []
    for number, cell in enumerate(row):
        if fold(cell).endswith(_IMAGE_ENDS):
            names.append("file_name")
        elif split_of(cell) is not None and len(row) > 2:
            names.append("split")
        else:
            names.append("label" if "label" not in names else f"column {number}")
    return names


def _spaced_records(lines: Iterable[str]) -> list[dict[str, str]]:
    """Read lines `path label`, the label being what follows the file's suffix."""
    records = []
    for line in lines:
        file, _, label = line.strip().rpartition(" ")
        for end in _IMAGE_ENDS:
            at = fold(line).find(f"{end} ")
            if at > 0:
                file, label = line.strip()[: at + len(end)], line.strip()[at + len(end) :]
        records.append({"file_name": file.strip(), "label": label.strip()})
    return records


def _rows(records: Sequence[Mapping[str, str]]) -> tuple[Row, ...] | None:
    columns = list(dict.fromkeys(key for record in records for key in record))
    file = _file_column(columns, records)
    if file is None:
        return None
    split = next(
        (column for column in columns if column in _SPLIT_COLUMNS and column != file), None
    )
    label = _label_column([c for c in columns if c not in (file, split)])
    if label is None:
        return None
    return tuple(
        Row(record[file], record[label], _use(record.get(split, "")) if split else None)
        for record in records
        if record.get(file) and record.get(label)
    )


def _file_column(columns: Sequence[str], records: Sequence[Mapping[str, str]]) -> str | None:
    for column in columns:
        if any(record.get(column, "").casefold().endswith(_IMAGE_ENDS) for record in records[:100]):
            return column
    return next((column for column in _FILE_COLUMNS if column in columns), None)


def _label_column(columns: Sequence[str]) -> str | None:
    named = next((column for column in _LABEL_COLUMNS if column in columns), None)
    return named if named or len(columns) != 1 else columns[0]


def _use(text: str) -> str | None:
    if fold(text) == AUTO:
        return None
    if fold(text) in (TRAIN, EVAL):
        return fold(text)
    return split_of(text)
