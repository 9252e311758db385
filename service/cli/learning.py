"""`filopodia learn`: post a folder of labelled images and watch until it is learned."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from service.cli.options import JsonOption, KeyOption, LearnerArgument, UrlOption, connect
from service.cli.output import headline, make_console, matrix_table, print_json
from service.cli.progress import follow
from service.client import Filopodia, ProblemError, Task, TaskOptions
from service.remote import replies


class Screening(StrEnum):
    """What to do with a batch that looks poisoned."""

    hold = "hold"
    warn = "warn"
    off = "off"


def learn(
    name: LearnerArgument,
    folder: Annotated[
        Path | None,
        typer.Argument(exists=True, file_okay=False, help="Folder of images: FOLDER/label/file."),
    ] = None,
    create: Annotated[
        bool, typer.Option("--create", help="Create the learner if it is new.")
    ] = False,
    strategy: Annotated[str | None, typer.Option(help="Of a new learner: how it learns.")] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Of a new learner: its frozen network.")
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="Of a new learner: the strategy's options, as JSON.")
    ] = None,
    title: Annotated[str | None, typer.Option("--name", help="What to call the task.")] = None,
    extend: Annotated[bool, typer.Option("--extend", help="More images of known classes.")] = False,
    from_feedback: Annotated[
        bool, typer.Option("--from-feedback", help="Learn from pending feedback, too or alone.")
    ] = False,
    eval_fraction: Annotated[
        float | None, typer.Option(min=0.0, max=0.9, help="Share kept out to measure accuracy.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave unusable images out.")
    ] = False,
    screening: Annotated[
        Screening | None,
        typer.Option(help="A batch that looks poisoned: hold it, warn of it, or do not look."),
    ] = None,
    wait: Annotated[bool, typer.Option(help="Watch until it is learned.")] = True,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn the classes of a folder of labelled images as one task.

    The folder holds one folder a label (FOLDER/heron/a.jpg), or train and eval folders of such.
    """
    if folder is None and not from_feedback:
        raise typer.BadParameter("Name a folder of labelled images, or learn --from-feedback.")
    options = TaskOptions(
        name=title,
        mode="extend" if extend else None,
        eval_fraction=eval_fraction,
        on_bad_image="skip" if skip_bad else None,
        from_feedback=from_feedback or None,
        screening=None if screening is None else screening.value,
    )
    settings = _parse_config(config)
    console = make_console(stderr=as_json)
    with connect(url, key) as client:
        if create or strategy or backbone or settings is not None:
            _create_if_new(client, name, strategy=strategy, backbone=backbone, config=settings)
        task = _post(client, name, folder, options)
        posted, samples = task.reply, task.reply["samples"]
        console.print(
            f"{task.id}: {len(posted['classes'])} classes, {samples['train']} images to learn "
            f"from, {samples['eval']} kept out"
        )
        if from_feedback:
            console.print(f"{posted.get('from_feedback', 0)} pieces of feedback taken")
        _show_unused(posted, console)
        if wait:
            follow(task, console, f"task {posted['index']}")
            _show_findings(task, console)
        if as_json:
            print_json(task.reply)
        elif task.status == "succeeded":
            history = client.accuracy(name)
            console.print(matrix_table(history))
            console.print(headline(history))
    _fail_unless_learned(task, wait=wait)


def _show_unused(posted: replies.Task, console: Console) -> None:
    for rejected in posted["rejected"]:
        console.print(f"left out {rejected['filename']}: {rejected['problem']}", style="yellow")
    for blank in posted.get("quarantined", []):
        console.print(f"not used {blank['filename']}: {blank['reason']}", style="yellow")


def _show_findings(task: Task, console: Console) -> None:
    for finding in task.reply.get("findings", []):
        console.print(f"{finding['code']}: {finding['detail']}", style="yellow")


def _post(client: Filopodia, name: str, folder: Path | None, options: TaskOptions) -> Task:
    try:
        if folder is None:
            return client.learn_feedback(name, options)
        return client.learn_folder(name, folder, options)
    except ProblemError as problem:
        if problem.code == "learner-not-found":
            problem.detail = f"There is no learner {name} yet: add --create to make it."
        raise


def _create_if_new(client: Filopodia, name: str, **chosen: Any) -> None:
    try:
        client.create_learner(name, **chosen)
    except ProblemError as problem:
        if problem.code != "learner-exists":
            raise


def _fail_unless_learned(task: Task, *, wait: bool) -> None:
    if not wait or task.status == "succeeded":
        return
    error = task.error
    reason = f"{error['code']}: {error['detail']}" if error else task.status
    make_console(stderr=True).print(f"not learned, {reason}", style="red")
    raise typer.Exit(1)


def _parse_config(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise typer.BadParameter('--config takes a JSON object, such as {"epochs": 5}.')
    return value
