"""Asking before something is done that cannot be undone: the same way in every command."""

import sys
from collections.abc import Sequence
from itertools import groupby
from typing import Annotated

import typer

from service.cli.output import make_console
from service.remote import replies

YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def confirm(question: str, *, yes: bool) -> None:
    """Go on only if somebody agrees: on a terminal, or with an answer on the standard input.

    Args:
        question: What will be gone, ending with a question mark.
        yes: Whether `--yes` has agreed already.

    Raises:
        typer.Exit: With 1 if the answer is no, with 2 if nobody could answer.
        typer.Abort: If the person at the terminal has left.
    """
    if yes:
        return
    try:
        is_agreed = sys.stdin is not None and typer.confirm(question, err=True)
        is_answered = sys.stdin is not None
    except typer.Abort:
        if sys.stdin.isatty():
            raise
        is_agreed = is_answered = False
    if not is_agreed:
        console = make_console(stderr=True)
        if is_answered:
            console.print("Nothing was done.")
            raise typer.Exit(1)
        console.print("\nNobody is here to ask, so nothing was done: add --yes.", style="red")
        raise typer.Exit(2)


def describe_preview(preview: replies.UnlearnPreview) -> str:
    """Return what an unlearning takes away for good, as two sentences.

    Example:
        >>> describe_preview({"learner": "birds", "tasks": [2], "classes": ["crane"], "versions": [2, 3, 4, 6],
        ...                   "images": 16, "live_version": 4})
        'birds unlearns crane. Versions 2-4, 6 are erased and 16 images deleted, for good.'
    """
    what = ", ".join(preview["classes"][:12]) or "images"
    more = f" and {len(preview['classes']) - 12} more" if len(preview["classes"]) > 12 else ""
    n, images = len(preview["versions"]), preview["images"]
    versions = f"{'Version' if n == 1 else 'Versions'} {ranges(preview['versions'])} {'is' if n == 1 else 'are'} erased"
    return (
        f"{preview['learner']} unlearns {what}{more}. {versions if n else 'No version is erased'} and "
        f"{images} {'image' if images == 1 else 'images'} deleted, for good."
    )


def ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers, runs of them as from-to.

    Example:
        >>> ranges([1, 2, 3, 5, 7, 8])
        '1-3, 5, 7-8'
    """
    runs = groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    spans = [[number for _, number in run] for _, run in runs]
    return ", ".join(str(s[0]) if len(s) == 1 else f"{s[0]}-{s[-1]}" for s in spans)
