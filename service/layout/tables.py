"""Tables of labels beside images: which column names the files, and which says what they show.

The forms that are common: `labels.csv` and `metadata.csv` with a header, commas, semicolons or tabs; lines of JSON as
`datasets` writes them; lists `path label` without a header; a column of 0 and 1 for each class. Which column names the
files is seen by what it holds.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from service.layout.errors import TableError
from service.layout.names import AUTO, EVAL, TRAIN, fold, has_image_suffix, split_of
from service.layout.records import Records, read_records


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


MAX_TABLE_BYTES = 8 * 1024 * 1024
MAX_TABLES_BYTES = 4 * MAX_TABLE_BYTES
"""All tables of one upload together."""
MANIFEST = "manifest"
"""Name, without its suffix, of a table that decides alone: all that it says is meant."""
_STEMS = _words(
    "labels label metadata manifest train training train_labels trainlabels test validation valid val annotations "
    "annotation index classes_by_file image_labels images _classes"
)
_STEM_ENDS = ("_labels", "_metadata", "-labels", "-metadata", "_groundtruth")
_SUFFIXES = frozenset((".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson"))
_LINES = frozenset((".jsonl", ".ndjson"))
_FILE_COLUMNS = _words(
    "file_name filename file image image_name imagename image_path imagepath path filepath file_path img image_id "
    "id id_code name photo picture datei dateiname bild fichier archivo imagen url image_url"
)
_LABEL_COLUMNS = _words(
    "label class_name classname label_name class labels category category_name species breed variety tag target "
    "diagnosis dx klasse art classe clase etiqueta étiquette etikett categoria categoría kategorie "
    "espèce especie rasse klass klasa метка класс 标签 类别 ラベル name class_id classid label_id labelid"
)
_SPLIT_COLUMNS = _words("split set subset partition usage fold is_valid")
_ABSENT = frozenset(("", "nan", "null", "#n/a"))
"""What stands in a cell of which nothing is known."""
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")


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
    unsure: str | None = None
    """The column of the labels, if another could be meant as well; None if it is clear."""


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
    are_lines = path is not None and fold(path.suffix) in _LINES
    return _table(read_records(text, name, are_lines=are_lines), path)


def several_labels(table: Table) -> str | None:
    """Return a label that is several in one cell, as `cat|dog` is where `dog` is a label too; None without any."""
    known = dict.fromkeys(row.label for row in table.rows)
    for label in known:
        parts = [part.strip() for part in re.split(r"[|;,]", label)]
        if label.startswith("[") and label.endswith("]") and len(label) > 2:
            return label
        if len(parts) > 1 and any(part in known for part in parts):
            return label
        if len(label.split()) > 1 and all(part in known for part in label.split()):
            return label
    return None


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


def _table(records: Records, path: PurePosixPath | None) -> Table | None:
    file = _file_column(records)
    if file is None:
        return None
    split = next((c for c in _SPLIT_COLUMNS if c in records.columns and c != file), None)
    others = [column for column in records.columns if column not in (file, split)]
    label, unsure = _label_column(others, records)
    place = _place_says(path)
    if label is None:
        marked = _by_marks(records, file, others)
        return None if marked is None else Table(path, marked, place)
    is_absent = frozenset(("",)) if path and fold(path.stem) == MANIFEST else _ABSENT
    rows = tuple(
        Row(record[file], text.strip(), _use(record.get(split, ""), split) if split else None)
        for record in records.rows
        if record.get(file) and fold(text := record.get(label, "")) not in is_absent
    )
    return Table(path, rows, place, records.columns[label] if unsure else None)


def _file_column(records: Records) -> str | None:
    first = records.rows[:100]
    holding = [
        column
        for column in records.columns
        if any(has_image_suffix(fold(record.get(column, ""))) for record in first)
    ]
    # What folders are called may end like the name of an image too.
    ranked = (
        *(column for column in _FILE_COLUMNS if column in holding),
        *(column for column in holding if column not in _LABEL_COLUMNS),
        *(column for column in _FILE_COLUMNS if column in records.columns),
        *holding,
    )
    return next(iter(ranked), None)


def _label_column(columns: Sequence[str], records: Records) -> tuple[str | None, bool]:
    """Return the column of the labels, and whether another could be meant as well."""
    named = [column for column in _LABEL_COLUMNS if column in columns]
    if not named:
        return (columns[0], True) if len(columns) == 1 else (None, False)
    chosen, *others = named
    same = [column for column in others if _are_pairs(records, chosen, column)]
    if _is_numeric(records, chosen):
        words = (column for column in same if not _is_numeric(records, column))
        chosen = next(words, chosen)
    return chosen, any(column not in same for column in others if column not in _FILE_COLUMNS)


def _are_pairs(records: Records, one: str, other: str) -> bool:
    """Return whether two columns say the same in other words, as numbers and names of classes."""
    pairs = {
        (record.get(one, "").strip(), record.get(other, "").strip()) for record in records.rows
    }
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def _is_numeric(records: Records, column: str) -> bool:
    return all(_NUMBER.fullmatch(record.get(column, "").strip() or "0") for record in records.rows)


def _by_marks(records: Records, file: str, columns: Collection[str]) -> tuple[Row, ...] | None:
    """Read a table with a column for each class, in which 1 marks it."""
    marks = {"1": True, "1.0": True, "0": False, "0.0": False}
    classes = [c for c in columns if all(r.get(c, "").strip() in marks for r in records.rows)]
    if len(classes) < 2 or not records.rows:
        return None
    rows = []
    for record in records.rows:
        marked = [records.columns[c] for c in classes if marks[record[c].strip()]]
        if marked:
            rows.append(Row(record[file], marked[0] if len(marked) == 1 else str(marked)))
    return tuple(rows)


def _use(text: str, column: str) -> str | None:
    folded = fold(text)
    if column == "is_valid":
        return {"true": EVAL, "1": EVAL, "false": TRAIN, "0": TRAIN}.get(folded)
    if folded == AUTO:
        return None
    return folded if folded in (TRAIN, EVAL) else split_of(text)
