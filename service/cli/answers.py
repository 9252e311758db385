"""How the answers for images are shown: in full, as a table, as CSV, as JSON."""

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from service.cli.batches import Answer
from service.cli.csv_files import CsvTable
from service.cli.image_files import FoundFiles, shown
from service.cli.output import (
    make_console,
    percent,
    print_json,
    print_table,
    result_lines,
    warnings_of,
)

IN_FULL = 4
"""Most files whose routes are shown; of more, or of a folder, one line each."""
NAMED = 10
"""Most files that are no images that are named."""
COUNTED = 5
"""Most labels that are counted below the table."""
ANSWERED = ("label", "score", "known", "novelty", "task")
CSV_COLUMNS = ("file", *ANSWERED, "version", "prediction", "index", "warnings", "problem")


class Report:
    """Takes the answers one by one, and shows them.

    Args:
        found: What was asked about.
        as_json: Print them as JSON, at the end.
        table: Write them there as they come, and print no table.
    """

    def __init__(self, files: FoundFiles, *, as_json: bool, table: CsvTable | None) -> None:
        self.answers: list[Answer] = []
        self._found = files
        self._as_json = as_json
        self._table = table
        is_short = len(files.images) <= IN_FULL and not files.has_folder
        self._in_full = is_short and not as_json and table is None

    @property
    def has_routes(self) -> bool:
        """Whether it shows what the answers went through."""
        return self._in_full or self._as_json

    def take(self, answer: Answer) -> None:
        """Take in the next answer."""
        self.answers.append(answer)
        if self._table is not None:
            self._table.write(_csv_row(answer))

    def show_so_far(self) -> None:
        """Show what was answered before something failed; as JSON half of it would pass for all."""
        if self.answers and not self._as_json:
            self.show()

    def show(self) -> None:
        """Show all answers and, of many, their sum."""
        if self._as_json:
            print_json(_as_json(self.answers, self._found))
        elif self._in_full:
            _print_in_full(self.answers)
        else:
            if self._table is None:
                print_rows(self.answers)
            sum_up(
                self.answers,
                {answer.reply["version"] for answer in self.answers if answer.reply},
                make_console(stderr=self._table is not None),
                others=self._found.others,
            )


def name_others(others: Sequence[Path], console: Console) -> None:
    """Say which files of the folders were left out, as they are no images."""
    if not others:
        return
    console.print(f"Not images, and so left out ({len(others)}):", style="dim")
    for file in others[:NAMED]:
        console.print(f"  {shown(file)}", style="dim", soft_wrap=True)
    if len(others) > NAMED:
        console.print(f"  ... and {len(others) - NAMED} more", style="dim")


def print_rows(answers: Sequence[Answer]) -> None:
    """Show many answers, one line each."""
    print_table(
        ("file", "label", "score", "known", ""),
        (
            (
                shown(answer.file),
                answer.result.get("label") or "",
                percent(answer.result.get("score")),
                "" if answer.problem else "yes" if answer.result["known"] else "no",
                answer.problem or ", ".join(warnings_of(answer.result)),
            )
            for answer in answers
        ),
        empty="No answer.",
    )


def _print_in_full(answers: Sequence[Answer]) -> None:
    console = make_console()
    for answer in answers:
        heading = shown(answer.file)
        if answer.reply is not None:
            index = answer.result["index"]
            place = f" --index {index}" if index else ""
            heading += f" (version {answer.reply['version']})  {answer.reply['id']}{place}"
        console.print(heading, soft_wrap=True)
        for line in result_lines(answer.result):
            console.print(line)


def sum_up(
    answers: Sequence[Answer],
    versions: Collection[int],
    console: Console,
    *,
    others: Sequence[Path] = (),
) -> None:
    """Say how many images were answered, by which versions, what most of them show, and what is wrong.

    Args:
        answers: All answers.
        versions: What answered.
        console: Where to say it.
        others: Files that were left out, as they are no images.
    """
    usable = [answer for answer in answers if not answer.problem]
    labels = Counter(answer.result["label"] for answer in usable)
    by = f" by version {', '.join(map(str, sorted(versions)))}" if versions else ""
    counts = "".join(f", {n} {label}" for label, n in labels.most_common(COUNTED))
    more = ", ..." if len(labels) > COUNTED else ""
    console.print(
        Text.assemble(
            (f"{len(usable)} of {len(answers)} images answered{by}", "bold"), counts, more
        )
    )
    n_unknown = sum(not answer.result["known"] for answer in usable)
    if n_unknown:
        console.print(f"Look like nothing learned so far (known: no): {n_unknown}.", style="yellow")
    if len(usable) < len(answers):
        console.print(f"Could not be used: {len(answers) - len(usable)}.", style="red")
    name_others(others, console)


def _as_json(answers: Sequence[Answer], files: FoundFiles) -> Any:
    """Return what the service replied, each result with the file it is about.

    Of files, that is the reply, or a list of several; of folders, always one object with `results` and `left_out`.
    """
    if files.has_folder:
        return {
            "results": [_with_file(answer) | _with_request(answer) for answer in answers],
            "left_out": [shown(file) for file in files.others],
        }
    replies: dict[str, Any] = {}
    for answer in answers:
        asked: dict[str, Any] = {} if answer.reply is None else {**answer.reply}
        reply = replies.setdefault(asked.get("id", shown(answer.file)), {**asked, "results": []})
        reply["results"].append(_with_file(answer))
    whole = list(replies.values())
    return whole[0] if len(whole) == 1 else whole


def _with_file(answer: Answer) -> dict[str, Any]:
    return {**answer.result, "file": shown(answer.file)}


def _with_request(answer: Answer) -> dict[str, Any]:
    if answer.reply is None:
        return {}
    return {"prediction": answer.reply["id"], "version": answer.reply["version"]}


def _csv_row(answer: Answer) -> list[Any]:
    version, prediction = (
        (None, None) if answer.reply is None else (answer.reply["version"], answer.reply["id"])
    )
    return csv_row(answer, version, prediction)


def csv_row(answer: Answer, version: int | None, prediction: str | None) -> list[Any]:
    """Return the cells of `CSV_COLUMNS` for an answer.

    Args:
        answer: The answer.
        version: What answered; None if nothing did.
        prediction: What it is kept as; None if it is no prediction.
    """
    result = answer.result
    return [
        shown(answer.file),
        *(result.get(column) for column in ANSWERED),
        version,
        prediction,
        result["index"],
        " ".join(result.get("warnings", ())),
        answer.problem,
    ]
