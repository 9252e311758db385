"""What `filopodia learn` says of images that the learner has already, and of copies."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console

from service.cli.output import counted, print_json
from service.client import ProblemError
from service.remote import replies


@contextmanager
def nothing_new_is_no_fault(
    folder: Path | None, console: Console, *, as_json: bool
) -> Iterator[None]:
    """End the command well if there is nothing to learn: whoever sends a folder every night wants to hear of faults."""
    try:
        yield
    except ProblemError as problem:
        if problem.code != "nothing-new":
            raise
        counts = problem.errors[0] if problem.errors else {}
        console.print(_nothing_new(folder, counts), soft_wrap=True)
        if as_json:
            print_json({"code": problem.code, "detail": problem.detail, **_numbers(counts)})
        raise typer.Exit from problem


def show_left_out(posted: replies.Task, console: Console) -> None:
    """Say how many images a task left out although nothing is wrong with them, or kept on their side."""
    if known := posted.get("known", 0):
        console.print(f"{counted(known, 'image')} left out: known already")
    if copies := posted.get("duplicates", 0):
        console.print(f"{counted(copies, 'image')} left out: copies of others in the same class")
    if kept := posted.get("splits_kept", 0):
        console.print(
            f"{counted(kept, 'image')} kept on the side of train and eval they were on before, not the one named now",
            style="yellow",
            soft_wrap=True,
        )


def _nothing_new(folder: Path | None, counts: dict[str, int]) -> str:
    known, place = counts.get("known", 0), "the feedback" if folder is None else str(folder)
    images = "its one image is" if known == 1 else f"all {known} images are"
    notes = [
        f" {counts[key]} more {text}."
        for key, text in (("duplicates", "are copies of these"), ("rejected", "cannot be used"))
        if counts.get(key)
    ]
    return "".join([f"Nothing new in {place}: {images} known.", *notes])


def _numbers(counts: dict[str, int]) -> dict[str, int]:
    return {key: counts.get(key, 0) for key in ("known", "duplicates", "rejected")}
