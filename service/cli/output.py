"""What the commands print: JSON, tables, the accuracy matrix, predictions with their routes."""

import json
import os
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from service.cli.problems import sentence
from service.cli.terminal import escaped, harmless
from service.image_warnings import image_warning
from service.remote import replies

PLAIN_WIDTH = 120
"""Columns when the output is no terminal: tables in logs should not wrap at 80."""
NARROWEST = 20
"""Columns that a table gets at least."""
BAR_WIDTH = 24
ROOM = 1.5
"""Scale of the currents, in thresholds, when none is larger: a threshold should not sit at the edge."""
SHARP = 0.1
"""Width of an interval below which its ends have a decimal."""
MEASURED_ON = {
    "held_out": "held out",
    "cross_validated": "left out in turn",
    "both": "held out or left out in turn",
}
"""What an accuracy was measured on."""
SCORE_STYLES = ((0.9, "bold green"), (0.75, "green"), (0.5, "yellow"), (0.0, "red"))

WARNINGS = {
    "blank": "it shows nothing",
    "first_frame_used": "only its first frame was looked at",
}


def make_console(*, stderr: bool = False) -> Console:
    """Return a console for stdout, or stderr."""
    stream = sys.stderr if stderr else sys.stdout
    given = os.environ.get("COLUMNS", "")
    if given.isascii() and given.isdigit():
        width: int | None = max(NARROWEST, int(given[:4]))
    else:
        width = None if stream.isatty() else PLAIN_WIDTH
    return _Console(stderr=stderr, markup=False, highlight=False, width=width)


class _Console(Console):
    """Prints labels and names of files as text, whatever is in them."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the pieces of what is printed: only rich itself moves the cursor."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else harmless(segment.text)
            yield segment if text == segment.text else Segment(text, segment.style)


def is_watched(console: Console) -> bool:
    """Return whether a person is there who reads what is printed and can answer."""
    return console.is_terminal and sys.stdin is not None and sys.stdin.isatty()


def print_json(value: Any) -> None:
    """Print `value` as indented JSON to stdout."""
    text = escaped(json.dumps(value, indent=2, ensure_ascii=False))
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        # Still the same JSON; a letter replaced would make it another one.
        text = json.dumps(value, indent=2)
    sys.stdout.write(text + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """Print rows as a table; numbers to the right. Prints `empty` when there is no row."""
    rows = [list(row) for row in rows]
    console = make_console()
    if not rows:
        console.print(Text(empty, style="dim"))
        return
    numbers = {
        i
        for i in range(len(columns))
        if all(isinstance(row[i], int | float | None) for row in rows)
    }
    table = make_table(columns, numbers=numbers)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console.print(table)


def make_table(columns: Sequence[str], *, numbers: Collection[int] = ()) -> Table:
    """Return an empty table without lines; the columns with these indexes, of numbers, stand to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i in numbers else "left", overflow="fold")
    return table


def counted(count: int, noun: str) -> str:
    """Return how many there are of something.

    Example:
        >>> counted(1, "image"), counted(2, "class")
        ('1 image', '2 classes')
    """
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"


def percent(value: float | None) -> str:
    """Format a share.

    Example:
        >>> percent(0.9731), percent(None)
        ('97.3%', '-')
    """
    return "-" if value is None else f"{100 * value:.1f}%"


def share_of(value: float | None, n: int | None, measure: replies.Measure | None = None) -> str:
    """Format a share of so many images, with its 95 % interval where that is known; of few it says little.

    Example:
        >>> share_of(0.75, 4), share_of(None, 0)
        ('75.0% of 4', '-')
    """
    share = percent(value) if value is None or not n else f"{percent(value)} of {n}"
    if measure is None:
        return share
    few = " too few" if measure["too_few"] else ""
    return f"{share} ({_range(measure)}){few}"


def interval_of(measure: replies.Measure) -> str:
    """Format the 95 % interval of an accuracy, as sharp as it is.

    Example:
        >>> interval_of({"low": 0.5958, "high": 0.9821}), interval_of({"low": 0.98, "high": 0.9952})
        ('60 to 98%', '98.0 to 99.5%')
    """
    digits = 0 if measure["high"] - measure["low"] >= SHARP else 1
    return f"{100 * measure['low']:.{digits}f} to {100 * measure['high']:.{digits}f}%"


def score_style(value: float) -> str:
    """Return the colour of an accuracy."""
    return next(style for bound, style in SCORE_STYLES if value >= bound)


def matrix_table(history: replies.AccuracyHistory, *, live: int | None = None) -> Table:
    """Return the accuracy matrix: one row a version, one column a task; with `live`, that version is marked.

    Below it, of the last version: how many images each accuracy was measured on, and its 95 % interval.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 0, 0, 2))
    table.add_column("")
    for task in history["tasks"]:
        table.add_column(f"task {task}", justify="right")
    if live is not None:
        table.add_column("")
    for version, row in zip(history["versions"], history["matrix"], strict=True):
        cells = [
            Text("·", style="dim")
            if value is None
            else Text(percent(value), style=score_style(value))
            for value in row
        ]
        mark = [] if live is None else [Text("live" if version == live else "", style="green")]
        table.add_row(f"version {version}", *cells, *mark)
    measures = history.get("measures")
    if measures and measures["matrix"]:
        last, end = measures["matrix"][-1], [""] * (live is not None)
        images = ["" if cell is None else f"of {cell['n']}" for cell in last]
        table.add_row("images", *images, *end, style="dim")
        table.add_row("95 % interval", *map(_interval_cell, last), *end, style="dim")
    return table


def _interval_cell(measure: replies.Measure | None) -> Text:
    if measure is None:
        return Text("")
    if measure["too_few"]:
        return Text("too few", style="yellow")
    return Text(_range(measure))


def _range(measure: replies.Measure) -> str:
    return f"{100 * measure['low']:.0f}-{100 * measure['high']:.0f}%"


def headline(history: replies.AccuracyHistory) -> Text:
    """Return the numbers that sum the matrix up, in one line, and how sure they are in another."""
    passes = history["passes"][-1] if history["passes"] else None
    return Text.assemble(
        ("last ", "dim"),
        (percent(history["last"]), "bold"),
        ("   average ", "dim"),
        (percent(history["average"]), "bold"),
        ("   forgetting ", "dim"),
        (percent(history["forgetting"]), "bold"),
        ("   passes an image ", "dim"),
        ("-" if passes is None else f"{passes:.2f}", "bold"),
        (_certainty(history), "dim"),
    )


def _certainty(history: replies.AccuracyHistory) -> str:
    measures = history.get("measures")
    last = measures["last"] if measures else None
    if not measures or last is None:
        return ""
    said = [f"last {_sure(last)}"]
    if average := measures["average"]:
        said.append(f"average {_sure(average)}")
    if forgetting := measures["forgetting"]:
        is_within = forgetting["low"] <= 0 <= forgetting["high"] and not forgetting["too_few"]
        said.append(f"forgetting {_sure(forgetting)}" + ", within the uncertainty" * is_within)
    images = f"{last['n']} image{'' if last['n'] == 1 else 's'} {MEASURED_ON[last['measured_by']]}"
    return f"\nof {images}; 95 % intervals: {'; '.join(said)}"


def _sure(measure: replies.Measure) -> str:
    return interval_of(measure) + (", too few to tell" if measure["too_few"] else "")


def result_lines(result: replies.PredictionResult) -> list[Text]:
    """Return the answer for one image as lines: label, best labels, route."""
    if problem := result.get("problem"):
        detail = str(problem.get("detail", "This image cannot be used."))
        return [Text(sentence(str(problem.get("code", "")), detail), "red")]
    known = "" if result["known"] else "  looks like nothing learned so far"
    lines = [Text(f"  {warning}", "yellow") for warning in warnings_of(result)]
    lines = [
        Text.assemble(
            (result["label"], "bold"),
            f"  {percent(result['score'])}",
            (f"  task {result['task']}, novelty {result['novelty']:.2f}", "dim"),
            (known, "yellow"),
        ),
        *lines,
    ]
    lines += [Text(f"  {image_warning(code)}", "yellow") for code in result.get("warnings", [])]
    lines += [
        Text.assemble(
            "  ",
            (_bar(item["score"], 1.0), "cyan"),
            f" {percent(item['score']):>6}  ",
            item["label"],
        )
        for item in result["top"]
    ]
    return lines + route_lines(result)


def warnings_of(result: Mapping[str, Any]) -> list[str]:
    """Return what the sender of an image may not expect of its answer, in words.

    Example:
        >>> warnings_of({"warnings": ["first_frame_used"]}), warnings_of({})
        (['only its first frame was looked at'], [])
    """
    return [WARNINGS.get(code, code.replace("_", " ")) for code in result.get("warnings", ())]


def route_lines(result: replies.PredictionResult) -> list[Text]:
    """Return each synapse's current as a bar with its threshold marked, and what fired."""
    route = result.get("route")
    if route is None:
        return []
    passes = f"{route['passes']:g} pass" + ("" if route["passes"] == 1 else "es")
    synapses = route.get("synapses") or []
    if not synapses:
        return [Text(f"  route: the shared network, {passes}", "dim")]
    able = [synapse for synapse in synapses if synapse.get("can_fire", True)]
    against = "; currents against thresholds" if able else ""
    lines = [Text(f"  route: {passes}{against}", "dim")]
    top = _top(able)
    for synapse in able:
        fired = synapse["state"] == "functional"
        sign = "≥" if synapse["current"] >= synapse["threshold"] else "<"
        lines.append(
            Text.assemble(
                f"  task {synapse['task']:<3} ",
                (threshold_bar(synapse, top), "green" if fired else "dim"),
                f" {synapse['current']:.2f} {sign} {synapse['threshold']:.2f}  ",
                (synapse["state"], "bold green" if fired else "dim"),
            )
        )
    unable = [synapse["task"] for synapse in synapses if not synapse.get("can_fire", True)]
    if unable:
        lines.append(Text(f"  {never_fires(unable)}", "dim"))
    if without := route.get("without"):
        lines.append(
            Text(f"  had none fired: {without['label']}  {percent(without['score'])}", "dim")
        )
    return lines


def never_fires(tasks: Sequence[int]) -> str:
    """Say of at least one task that its synapse can never fire.

    Example:
        >>> never_fires([3])
        'task 3 never fires: it has not earned a pass'
        >>> never_fires([1, 2, 3]), never_fires([1, 4])
        ('tasks 1 to 3 never fire: they have not earned a pass', 'tasks 1, 4 never fire: they have not earned a pass')
    """
    if len(tasks) == 1:
        return f"task {tasks[0]} never fires: it has not earned a pass"
    is_range = list(tasks) == list(range(tasks[0], tasks[0] + len(tasks)))
    named = f"{tasks[0]} to {tasks[-1]}" if is_range else ", ".join(map(str, tasks))
    return f"tasks {named} never fire: they have not earned a pass"


def _top(synapses: Sequence[replies.SynapseState]) -> float:
    """Return where the bars end: a little beyond the highest threshold, and no current outside."""
    highest = [max(s["current"], ROOM * s["threshold"]) for s in synapses]
    return max(highest, default=1.0) or 1.0


def threshold_bar(synapse: replies.SynapseState, top: float, width: int = BAR_WIDTH) -> str:
    """Draw a current as a bar from 0 to `top`, with a stroke where the threshold lies.

    Example:
        >>> threshold_bar({"task": 1, "current": 0.5, "threshold": 0.75, "state": "silent"}, 1.0, 8)
        '━━━━  ┃ '
    """
    cells = list("━" * round(width * synapse["current"] / top))[:width]
    cells += " " * (width - len(cells))
    cells[min(width - 1, round(width * synapse["threshold"] / top))] = "┃"
    return "".join(cells)


def _bar(value: float, top: float, width: int = BAR_WIDTH) -> str:
    return ("█" * round(width * value / top)).ljust(width)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
