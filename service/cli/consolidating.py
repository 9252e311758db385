"""`filopodia consolidate`: train on what was learned now rather than when it is quiet; and how that stands."""

from typing import Annotated

import typer
from rich.console import Console

from service.cli.options import JsonOption, KeyOption, LearnerArgument, UrlOption, connect
from service.cli.output import make_console, print_json
from service.cli.progress import watch
from service.cli.tasks import end_unfinished
from service.client import Filopodia, Task, TaskStatus

WELL_ENDED = frozenset({TaskStatus.SUCCEEDED, TaskStatus.DECLINED})
"""Declined ones have done their work: they found that what is known would not be answered better."""


def consolidate(
    name: LearnerArgument,
    wait: Annotated[bool, typer.Option("--wait", help="Watch until it has ended.")] = False,
    title: Annotated[str | None, typer.Option("--name", help="What to call it.")] = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Consolidate what a learner has learned, now rather than when it is quiet.

    Its classes are answered already. A consolidation trains on the images of all tasks that wait for it, and is served
    only if what is known is answered better by it; otherwise it is declined. Tasks go first.
    """
    console = make_console(stderr=as_json)
    with connect(url, key) as client:
        task = client.consolidate(name, title=title)
        console.print(f"{task.id}: {standing_of(task)}")
        if wait:
            _watch(task, console)
        if as_json:
            print_json(task.reply)
        elif wait:
            console.print(f"Consolidation {standing_of(task)}.", soft_wrap=True)
    fail_unless_tried(task, wait=wait)


def consolidate_learned(client: Filopodia, name: str, console: Console) -> Task | None:
    """Consolidate what waits for it, watch it, and return it; None if nothing waits."""
    told = client.learner(name).get("consolidation")
    if not told or not told["waiting"]:
        return None
    task = client.consolidate(name)
    console.print(f"Answers already. Consolidation {task.id}: {standing_of(task)}", soft_wrap=True)
    _watch(task, console)
    console.print(f"Consolidation {standing_of(task)}.", soft_wrap=True)
    return task


def show_standing(client: Filopodia, name: str, console: Console) -> None:
    """Say how what a learner has learned stands, if some of it waits to be consolidated."""
    told = client.learner(name).get("consolidation")
    if told and told["waiting"]:
        console.print(told["standing"], style="dim", soft_wrap=True)


def _watch(task: Task, console: Console) -> None:
    watch(task, console, f"consolidation {-task.reply['index']}", subject="It")


def standing_of(task: Task) -> str:
    """Return how a consolidation stands, in plain words."""
    told = task.reply.get("consolidation")
    return told["standing"] if told else task.status


def fail_unless_tried(task: Task, *, wait: bool) -> None:
    """End with 1 if a consolidation that was waited for did not come to its end.

    Raises:
        typer.Exit: Then.
    """
    if wait and task.status not in WELL_ENDED:
        end_unfinished(task, "not consolidated", standing_of(task))
