"""What `filopodia learn` understood of a folder, shown before anything is sent."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console

from service.cli.output import counted, is_watched
from service.layout.layouts import Layout
from service.layout.names import AUTO, EVAL, TRAIN
from service.remote import replies

SHOWN_CLASSES = 12
SHOWN_FILES = 5
REASONS = {
    "not-an-image": "no image",
    "system-file": "a system's or editor's own",
    "not-in-table": "not in the table",
}
"""Why a file was left out, in words."""


def show_layout(folder: Path, layout: Layout, console: Console) -> None:
    """Print classes, images, splits and what was left out."""
    classes = layout.classes
    total = sum((counts for counts in classes.values()), Counter[str]())
    console.print(
        f"{folder}: {counted(total.total(), 'image')} of {counted(len(classes), 'class')}{_split(total)}",
        soft_wrap=True,
    )
    for label, counts in list(classes.items())[:SHOWN_CLASSES]:
        console.print(f"  {label}  {counts.total()}{_split(counts)}", soft_wrap=True)
    if len(classes) > SHOWN_CLASSES:
        console.print(f"  ... and {len(classes) - SHOWN_CLASSES} more")
    for note in layout.notes:
        console.print(note, soft_wrap=True)
    files = [(str(item.path), item.reason) for item in layout.left_out]
    _show_left_out(files, len(files), console)


def confirm(layout: Layout, console: Console, *, yes: bool) -> None:
    """Ask whether a guess is right, where a person is there to answer.

    Raises:
        typer.Abort: If it is not.
    """
    if layout.is_guess and not yes and is_watched(console):
        typer.confirm("Is that what you mean?", default=True, abort=True, err=True)


def show_reading(posted: replies.Task, console: Console) -> None:
    """Print how the service read an archive."""
    layout = posted.get("layout")
    if layout is None:
        return
    for note in layout["notes"]:
        console.print(note, soft_wrap=True)
    files = [(item["path"], item["reason"]) for item in layout["left_out_files"]]
    _show_left_out(files, layout["left_out"], console)


def _show_left_out(files: Sequence[tuple[str, str]], total: int, console: Console) -> None:
    if not files:
        return
    named = ", ".join(
        f"{path} ({REASONS.get(reason, reason)})" for path, reason in files[:SHOWN_FILES]
    )
    more = f", and {total - SHOWN_FILES} more" if total > SHOWN_FILES else ""
    console.print(f"left out: {counted(total, 'file')}: {named}{more}", style="dim", soft_wrap=True)


def _split(counts: Counter[str]) -> str:
    """Return how many are kept out, where that was said."""
    if counts[EVAL] == 0 or counts[TRAIN] + counts[AUTO] == 0:
        return ", all kept out" if counts[EVAL] else ""
    return f", {counts[EVAL]} of them kept out"
