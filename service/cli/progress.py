"""Progress on a terminal as a live bar; of a task, elsewhere as one line a phase."""

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Protocol, Self, TypeVar

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from service.cli.output import make_console
from service.client import Task
from service.remote import replies
from service.remote.statuses import ENDED, WORKED_OUT, TaskStatus

ItemT = TypeVar("ItemT")

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended, as shells have it."""


class ProgressView(Protocol):
    """Shows a task while it is learned."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, task: replies.Task) -> None:
        """Take in how far the task is."""


class LiveBar:
    """A bar that moves, for terminals."""

    def __init__(self, console: Console, title: str) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            TextColumn("[cyan]{task.fields[phase]:<13}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._bar = self._progress.add_task(title, total=1.0, phase="queued", note="")

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.__exit__(kind, error, trace)

    def show(self, task: replies.Task) -> None:
        """Move the bar."""
        done = task["status"] in WORKED_OUT
        self._progress.update(
            self._bar,
            completed=1.0 if done else task["progress"]["fraction"],
            phase=task["status"] if done else phase_of(task),
            note="" if done else note_of(task),
        )


class PhaseLines:
    """One line when the phase changes, for logs."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._phase = ""
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return

    def show(self, task: replies.Task) -> None:
        """Print the phase if it is a new one."""
        ended = task["status"] in ENDED
        phase = task["status"] if ended else phase_of(task)
        if phase != self._phase:
            self._phase = phase
            seconds = time.monotonic() - self._started
            self._console.print(f"{self._title}  {seconds:5.1f} s  {phase}")


def follow(task: Task, console: Console, title: str) -> Task:
    """Show a task until it has ended, and return it as it ended."""
    view: ProgressView = (
        LiveBar(console, title) if console.is_terminal else PhaseLines(console, title)
    )
    with view:
        return task.wait(on_progress=view.show)


def watch(task: Task, console: Console, title: str, *, subject: str) -> None:
    """Show a task until it has ended. Ctrl-C ends the watching, not the work, and says so.

    Args:
        task: The task.
        console: Where to show it.
        title: What to call it.
        subject: What goes on without whoever watched, as the beginning of a sentence.

    Raises:
        typer.Exit: After Ctrl-C.
    """
    try:
        follow(task, console, title)
    except KeyboardInterrupt:
        make_console(stderr=True).print(
            f"\n{subject} goes on without you. `filopodia task {task.id}` says how far it is,\n"
            f"`filopodia cancel {task.id}` stops it.",
            soft_wrap=True,
        )
        raise typer.Exit(INTERRUPTED) from None


def phase_of(task: replies.Task) -> str:
    """Return the phase, or the status where it says more."""
    if task["status"] == TaskStatus.RUNNING:
        return task["progress"]["phase"]
    if task["status"] == TaskStatus.QUEUED and (task["position"] or 0) > 1:
        return f"queued (#{task['position']})"
    return task["status"]


def note_of(task: replies.Task) -> str:
    """Return epoch and time left, as far as they are known; of a consolidation that waits, for what."""
    told = task.get("consolidation")
    if told and task["status"] == TaskStatus.QUEUED:
        return told["standing"]
    progress = task["progress"]
    notes = []
    if progress.get("epoch") and progress.get("epochs"):
        notes.append(f"epoch {progress['epoch']}/{progress['epochs']}")
    if progress.get("eta_seconds") is not None:
        notes.append(f"{progress['eta_seconds']:.0f} s left")
    return ", ".join(notes)


def counted(items: Iterable[ItemT], *, total: int, title: str, is_long: bool) -> Iterator[ItemT]:
    """Yield items as they come; if it takes long, a bar on a terminal's standard error shows how many came."""
    console = make_console(stderr=True)
    if not (is_long and console.is_terminal):
        yield from items
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(title, total=total)
        for item in items:
            progress.advance(bar)
            yield item
