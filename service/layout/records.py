"""The records of a table of labels, whatever it is written in: CSV, tab-separated text, JSON, or lines `path label`."""

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from typing import Any

from service.layout.cells import plain
from service.layout.errors import TableError
from service.layout.names import IMAGE_ENDS, fold, split_of

MAX_ROWS = 200_000
MAX_COLUMNS = 1_000
_SAYS_DELIMITER = re.compile(r"\s*\"?sep=(.)\"?[;,\t]*\s*")
"""The line that spreadsheets put before a table."""
_DELIMITERS = "\t;,|"


@dataclass(frozen=True)
class Records:
    """What a table holds, by column."""

    columns: Mapping[str, str]
    """Their names as they are compared, and as they are written."""
    rows: Sequence[Mapping[str, str]]
    """Cells as they are, with the spaces around them: names of files may have such."""


def read_records(text: str, name: str, *, are_lines: bool) -> Records:
    """Take a table apart.

    Args:
        text: All of it.
        name: What to call it in a refusal.
        are_lines: Whether its name says that each line is a record of JSON.

    Raises:
        TableError: If it is damaged or too large.
    """
    is_json = text.lstrip()[:1] in ("{", "[")
    records = _json(text, name, are_lines=are_lines) if is_json else _csv(text, name)
    if len(records.rows) > MAX_ROWS or len(records.columns) > MAX_COLUMNS:
        raise _too_large(name)
    return records


def _too_large(name: str) -> TableError:
    return TableError(
        f"{name} has more than {MAX_ROWS} rows or {MAX_COLUMNS} columns: keep those of files and labels."
    )


def _json(text: str, name: str, *, are_lines: bool) -> Records:
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) > MAX_ROWS and not text.lstrip().startswith("["):
        raise _too_large(name)
    try:
        values = [json.loads(line) for line in lines]
    except (ValueError, RecursionError):
        values = _whole_json(text, name)
    if len(values) == 1 and isinstance(values[0], list):
        values = values[0]
    elif len(values) == 1 and isinstance(values[0], dict) and not are_lines:
        values = _as_records(values[0])
    columns: dict[str, str] = {}
    rows = []
    for record in islice((v for v in values if isinstance(v, dict)), MAX_ROWS + 1):
        keys = {fold(str(key)): str(key) for key in record}
        columns.update(keys)
        if len(columns) > MAX_COLUMNS:
            raise _too_large(name)
        rows.append({folded: _cell(record[key]) for folded, key in keys.items()})
    return Records(columns, rows)


def _whole_json(text: str, name: str) -> list[Any]:
    try:
        return [json.loads(text)]
    except (ValueError, RecursionError) as error:
        raise TableError(f"{name} is no JSON.") from error


def _as_records(value: dict[str, Any]) -> list[Any]:
    """Take `{file: label}` and `{file: {label, split}}` apart; a single record stays one."""
    if all(isinstance(entry, dict) for entry in value.values()):
        return [{"file_name": file, **entry} for file, entry in value.items()]
    if any(fold(str(entry)).endswith(IMAGE_ENDS) for entry in value.values()):
        return [value]
    return [{"file_name": file, "label": label} for file, label in value.items()]


def _cell(value: object) -> str:
    """Return a value as text: a list of one as that one, of more as JSON; what is nested deeper says no label."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list):
        return json.dumps(value) if not any(isinstance(v, list | dict) for v in value) else ""
    return "" if value is None or isinstance(value, dict) else str(value).strip()


def _csv(text: str, name: str) -> Records:
    body = text.lstrip("\r\n")
    first = next(iter(body[:1_000_000].splitlines()), "")
    declared = _SAYS_DELIMITER.fullmatch(first)
    if declared:
        body = body[len(first) :].lstrip("\r\n")
        first = next(iter(body[:1_000_000].splitlines()), "")
    delimiter = declared[1] if declared else max(_DELIMITERS, key=first.count)
    if not first.count(delimiter):
        return _spaced(body, name)
    if first.count(delimiter) > MAX_COLUMNS:
        raise _too_large(name)
    return _columns(_cells(body, delimiter, name))


def _cells(text: str, delimiter: str, name: str) -> list[list[str]]:
    reader = csv.reader(
        StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    try:
        rows = islice((row for row in reader if any(row)), MAX_ROWS + 2)
        return [[plain(cell) for cell in row] for row in rows]
    except csv.Error as error:
        detail = (
            f"{name} cannot be read at its line {reader.line_num}: look at its quotation marks."
        )
        raise TableError(detail) from error


def _columns(table: list[list[str]]) -> Records:
    header = table[0] if table else []
    rows = table[1:]
    if any(fold(cell).endswith(IMAGE_ENDS) for cell in header):
        header, rows = _header_of(header), table
    columns = {fold(cell): cell.strip() for cell in header}
    folded = [fold(cell) for cell in header]
    records = [dict(zip(folded, row, strict=False)) for row in rows]
    return Records(columns, records)


def _header_of(row: Sequence[str]) -> list[str]:
    """Name the columns of a table that has no header, by its first row."""
    names: list[str] = []
    for number, cell in enumerate(row):
        if fold(cell).endswith(IMAGE_ENDS):
            names.append("file_name" if "file_name" not in names else f"column {number}")
        elif split_of(cell) is not None and len(row) > 2:
            names.append("split")
        else:
            names.append("label" if "label" not in names else f"column {number}")
    return names


def _spaced(text: str, name: str) -> Records:
    lines = text.splitlines()
    if len(lines) > MAX_ROWS:
        raise _too_large(name)
    return Records({"file_name": "file_name", "label": "label"}, list(_spaced_records(lines)))


def _spaced_records(lines: Iterable[str]) -> Iterable[dict[str, str]]:
    """Read lines `path label`, the label being what follows the file's suffix."""
    for line in filter(None, map(str.strip, lines)):
        file, _, label = line.rpartition(" ")
        folded = line.casefold()
        ends = (folded.find(f"{end} ") + len(end) for end in IMAGE_ENDS if f"{end} " in folded)
        at = min(ends, default=0)
        if at and len(folded) == len(line):
            file, label = line[:at], line[at:]
        yield {"file_name": file.strip(), "label": label.strip()}
