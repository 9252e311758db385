"""`--csv`: answers as a table for spreadsheets and programs, written row by row as they come."""

import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any, NoReturn

import typer

from service.cli.output import make_console
from service.cli.terminal import harmless
from service.layout.cells import inert

CsvOption = Annotated[
    str | None,
    typer.Option(
        "--csv", metavar="FILE", help="Write a row an image to a file; - is the standard output."
    ),
]


class CsvTable:
    """A CSV file that grows."""

    def __init__(self, stream: IO[str], columns: Sequence[str], *, has_head: bool = False) -> None:
        self._stream = stream
        self._writer = csv.writer(stream, lineterminator="\n")
        if not has_head:
            self._writer.writerow(columns)

    def write(self, row: Sequence[Any]) -> None:
        """Add a row; truth as `true` and `false`, nothing as an empty cell, no text as a formula."""
        self._writer.writerow(map(_cell, row))
        self._stream.flush()


@contextmanager
def open_csv(target: str | None, columns: Sequence[str]) -> Iterator[CsvTable | None]:
    """Open the file that `--csv` names, in UTF-8; None if it names none.

    Raises:
        typer.BadParameter: If it is there already and no CSV file: more likely an image to ask about.
    """
    if target is None:
        yield None
        return
    if target == "-":
        yield CsvTable(sys.stdout, columns)
        return
    file = Path(target)
    if file.is_file() and file.stat().st_size and file.suffix.lower() != ".csv":
        raise typer.BadParameter(f"{file} is there already and no .csv file: name another one.")
    if not file.parent.is_dir():
        raise typer.BadParameter(f"There is no folder {file.parent}.")
    try:
        stream = file.open("w", encoding="utf-8", newline="")
    except OSError as error:
        _refuse(file, error)
    with stream:
        yield CsvTable(stream, columns)
    make_console(stderr=True).print(f"Wrote {file}.", soft_wrap=True)


def _refuse(file: Path, error: OSError) -> NoReturn:
    reason = error.strerror or error
    make_console(stderr=True).print(f"{file} cannot be written: {reason}.", style="red")
    raise typer.Exit(1)


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return inert(harmless(value)) if isinstance(value, str) else value
