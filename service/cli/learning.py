"""`filopodia learn`: post a folder of labelled images and watch until it is learned."""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from service.cli.growing import nothing_new_is_no_fault, show_left_out
from service.cli.options import JsonOption, KeyOption, LearnerArgument, UrlOption, connect
from service.cli.output import headline, make_console, matrix_table, print_json
from service.cli.progress import follow
from service.cli.tasks import ways_on
from service.client import EmptyFolderError, Filopodia, ProblemError, Task, TaskOptions
from service.remote import replies
from service.remote.folders import labelled_files, sent_file


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
    extend: Annotated[
        bool, typer.Option("--extend", help="Known classes too: learns what is new.")
    ] = False,
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
    max_forgetting: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="Hold it back if earlier tasks are forgotten more than this."
        ),
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
        max_forgetting=max_forgetting,
        from_feedback=from_feedback or None,
        screening=None if screening is None else screening.value,
    )
    settings = _parse_config(config)
    console = make_console(stderr=as_json)
    with connect(url, key) as client:
        if create or strategy or backbone or settings is not None:
            _create_if_new(client, name, strategy=strategy, backbone=backbone, config=settings)
        with nothing_new_is_no_fault(folder, console, as_json=as_json):
            task = _post(client, name, folder, options)
        posted, samples = task.reply, task.reply["samples"]
        console.print(
            f"{task.id}: {len(posted['classes'])} classes, {samples['train']} images to learn "
            f"from, {samples['eval']} kept out"
        )
        if from_feedback:
            _show_feedback(client, posted, console)
        _show_unused(posted, folder, console)
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


def _show_feedback(client: Filopodia, posted: replies.Task, console: Console) -> None:
    left = len(client.feedback(posted["learner"], pending=True))
    console.print(f"{posted.get('from_feedback', 0)} pieces of feedback taken, {left} stay pending")
    if left and posted.get("mode") != "extend":
        console.print("--from-feedback --extend takes those on known classes too.", style="dim")


def _show_unused(posted: replies.Task, folder: Path | None, console: Console) -> None:
    show_left_out(posted, console)
    quarantined = posted.get("quarantined", [])
    files = _files(folder) if posted["rejected"] or quarantined else []
    for rejected in posted["rejected"]:
        place = _named(rejected, files)
        console.print(f"left out {place}: {rejected['problem']}", style="yellow", soft_wrap=True)
    for blank in quarantined:
        place = _named(blank, files)
        console.print(f"not used {place}: {blank['reason']}", style="yellow", soft_wrap=True)


def _files(folder: Path | None) -> list[Path]:
    """Return the files of a folder as they were sent; none if they are gone by now."""
    try:
        return [] if folder is None else labelled_files(folder)
    except (EmptyFolderError, OSError):
        return []


def _named(entry: Mapping[str, Any], files: Sequence[Path]) -> str:
    """Return the path of an image as its sender knows it, or what the service calls it."""
    return str(sent_file(files, entry) or entry["filename"] or f"image {entry['index']}")


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
        files = _files(folder) if problem.errors else []
        for error in problem.errors:
            if path := sent_file(files, error):
                error["filename"] = str(path)
        raise


def _create_if_new(client: Filopodia, name: str, **chosen: Any) -> None:
    try:
        client.create_learner(name, **chosen)
    except ProblemError as problem:
        if problem.code != "learner-exists":
            raise
        _check_chosen(client.learner(name), **chosen)


def _check_chosen(
    found: replies.Learner,
    *,
    strategy: str | None,
    backbone: str | None,
    config: dict[str, Any] | None,
) -> None:
    """Refuse what was chosen for a new learner and is not what this one has."""
    differing = [
        f"the {what} {has}"
        for what, has, wanted in (
            ("strategy", found["strategy"], strategy),
            ("backbone", found["backbone"], backbone),
        )
        if wanted not in (None, has)
    ]
    differing += [
        f"{option} = {json.dumps(found['config'].get(option))}"
        for option, wanted in (config or {}).items()
        if option not in found["config"] or found["config"][option] != wanted
    ]
    if differing:
        raise typer.BadParameter(
            f"The learner {found['name']} exists already and has {', '.join(differing)}: leave these options out, or "
            "choose another name."
        )


def _fail_unless_learned(task: Task, *, wait: bool) -> None:
    if not wait or task.status == "succeeded":
        return
    error = task.error
    reason = f"{error['code']}: {error['detail']}" if error else task.status
    console = make_console(stderr=True)
    console.print(f"not learned, {reason}", style="red")
    if way := ways_on(task.reply):
        console.print(way)
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
