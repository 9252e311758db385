"""What the sections of the report share: their shape, and how Markdown writes tables and commands."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from textwrap import fill
from typing import Any

from matplotlib.figure import Figure

from benchmarks.class_incremental import parse_arguments

SHARES = frozenset(
    {"last", "average", "forgetting", "routing_accuracy", "expected_calibration_error"}
    | {"novelty_auroc", "before", "after", "believed"}
)
"""Values in 0..1 that are written as per cent."""

JSON = dict[str, Any]
WIDTH = 120
"""Characters that a line of a document may have."""


@dataclass
class Section:
    """A part of the report."""

    text: list[str] = field(default_factory=list)
    """Paragraphs of Markdown."""
    pictures: dict[str, Callable[[], Figure]] = field(default_factory=dict)
    """What draws each picture, by its name without suffix."""

    def show(self, name: str, caption: str, draw: Callable[[], Figure]) -> None:
        """Add a picture."""
        self.pictures[name] = draw
        self.text.append(f"![{caption}](results/figures/{name}.svg)")


def describe(protocol: JSON) -> str:
    """Write what decides the rows of a file."""
    first = protocol.get("base_classes", 0)
    held_out = protocol.get("held_out_per_class", 0)
    return (
        f"Images: {protocol['data']}, {protocol['train_per_class']} to train"
        + (f" ({held_out} of them to calibrate scores)" if held_out else "")
        + f" and {protocol['test_per_class']} to test a class. "
        f"Backbone: {protocol['backbone']} at {protocol['image_size']} pixels. "
        + (f"A first task of {first} classes, then " if first else "")
        + f"{protocol['tasks']} tasks"
    )


def options(protocol: JSON) -> str:
    """Write the options for data and backbone."""
    name = protocol["backbone"]
    usual = vars(parse_arguments(["--data", "DIR"]))["backbone"]
    if name in ("bundled", "tiny"):
        return f"--data DIR --backbone {name}"
    other = "" if name == usual else f" --backbone {name}"
    return f"--data DIR{other} --weights FILE --image-size {protocol['image_size']}"


def table(headings: Iterable[str], lines: Iterable[Sequence[str]]) -> str:
    """Write a table: the first column is text, the others stand right."""
    heads = list(headings)
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, rule, *lines))


def command(*parts: str) -> str:
    """Write a command as a block of code, broken where it grows wide; what is wide itself stands alone."""
    lines = [parts[0]]
    pieces = ([part] if len(part) <= 100 else part.split(" ") for part in parts[1:])
    for part in chain.from_iterable(pieces):
        if len(lines[-1]) + len(part) > 100:
            lines.append("    " + part)
        else:
            lines[-1] += " " + part
    return "    " + " \\\n    ".join(lines)


def prose(part: str) -> str:
    """Break the lines of a paragraph or list that are wider than a page's; leave tables, code and the rest.

    Example:
        >>> [len(line) for line in prose("word " * 30).splitlines()]
        [119, 29]
    """
    if (
        part.startswith(("|", "    ", "#", "!", "<!--"))
        or max(map(len, part.splitlines())) <= WIDTH
    ):
        return part
    return "\n".join(
        fill(
            line,
            WIDTH,
            subsequent_indent="  " if line.startswith("- ") else "",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in part.splitlines()
    )
