"""`filopodia learn`: post a folder or an archive of labelled images and watch until it is learned."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from service.cli.consolidating import (
    consolidate_learned,
    fail_unless_tried,
    show_standing,
)
from service.cli.known_images import nothing_new_is_no_fault, show_left_out
from service.cli.layout_report import confirm, show_layout, show_reading
from service.cli.options import (
    JsonOption,
    KeyOption,
    LearnerArgument,
    ManifestOption,
    UrlOption,
    connect,
)
from service.cli.output import counted, headline, make_console, matrix_table, print_json
from service.cli.progress import INTERRUPTED, watch
from service.cli.tasks import end_unfinished
from service.client import ClientError, Filopodia, ProblemError, Task, TaskOptions, TaskStatus
from service.layout.layouts import Layout
from service.remote import replies
from service.remote.folders import read_to_learn, sent_file


class Screening(StrEnum):
    """What to do with a batch that looks poisoned."""

    hold = "hold"
    warn = "warn"
    off = "off"


def learn(
    name: LearnerArgument,
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FOLDER]",
            exists=True,
            help="Folder of images, one folder a class; or an archive of such.",
        ),
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
    manifest: ManifestOption = None,
    splits: Annotated[
        bool,
        typer.Option(
            "--splits/--no-splits",
            help="Whether folders called train, valid, test and the like are splits, or classes like any other.",
        ),
    ] = True,
    encoding: Annotated[
        str | None,
        typer.Option(
            help="How names in an archive are written, if not as Unicode: cp850, cp932 ..."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
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
    consolidated: Annotated[
        bool,
        typer.Option("--consolidated", help="Have it consolidated at once, and watch that too."),
    ] = False,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn the classes of a folder of labelled images as one task.

    Returns when its classes are answered. Where the strategy trains later (`consolidate`), the last line says how that
    stands.

    The folder holds one folder a class (FOLDER/heron/a.jpg); or split folders of such (train, test); or a table
    labels.csv beside the images. A zip or tar of such a folder does as well. What was understood of a folder is shown
    before anything is sent.
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
        splits=None if splits else False,
        encoding=encoding,
    )
    settings = _parse_config(config)
    console = make_console(stderr=as_json)
    sent = _understood(folder, manifest, console, use_splits=splits, yes=yes)
    with connect(url, key) as client:
        is_new = False
        if create or strategy or backbone or settings is not None:
            is_new = _create_if_new(
                client, name, strategy=strategy, backbone=backbone, config=settings
            )
        with nothing_new_is_no_fault(folder, console, as_json=as_json):
            task = _post(client, name, sent, options, is_new=is_new)
        _show_posted(client, task, sent, console)
        if wait:
            watch(task, console, f"task {task.reply['index']}", subject="The task")
            _show_findings(task, console)
        if as_json:
            print_json(task.reply)
        elif task.status == TaskStatus.SUCCEEDED:
            history = client.accuracy(name)
            console.print(matrix_table(history))
            console.print(headline(history))
        _then_consolidate(client, task, console, is_asked=consolidated)
    if wait and task.status != TaskStatus.SUCCEEDED:
        end_unfinished(task, "not learned")


def _then_consolidate(client: Filopodia, task: Task, console: Console, *, is_asked: bool) -> None:
    """Consolidate what was learned if that is asked for, or say how it stands."""
    if task.status != TaskStatus.SUCCEEDED:
        return
    name = task.reply["learner"]
    if not is_asked:
        show_standing(client, name, console)
    elif consolidation := consolidate_learned(client, name, console):
        fail_unless_tried(consolidation, wait=True)


@dataclass(frozen=True)
class _Sent:
    """What is sent: a folder as it was understood, an archive as it is, or nothing but feedback."""

    path: Path | None
    layout: Layout | None

    @property
    def files(self) -> list[Path]:
        """The images of a folder in the order they are sent; none of an archive."""
        if self.path is None or self.layout is None:
            return []
        return [self.path / image.path for image in self.layout.images]

    def post(self, client: Filopodia, name: str, options: TaskOptions) -> Task:
        """Post it as a task."""
        if self.path is None:
            return client.learn_feedback(name, options)
        if self.layout is None:
            return client.learn_archive(name, self.path, options)
        return client.learn_folder(name, self.path, options, layout=self.layout)


def _understood(
    folder: Path | None, manifest: Path | None, console: Console, *, use_splits: bool, yes: bool
) -> _Sent:
    """Read a folder, show what was understood, and ask if it took a guess."""
    if folder is None or not folder.is_dir():
        if manifest is not None:
            raise typer.BadParameter(
                "--manifest goes with a folder; into an archive, put labels.csv."
            )
        return _Sent(folder, None)
    layout = read_to_learn(folder, manifest, use_splits=use_splits)
    show_layout(folder, layout, console)
    confirm(layout, console, yes=yes)
    return _Sent(folder, layout)


def _show_posted(client: Filopodia, task: Task, sent: _Sent, console: Console) -> None:
    posted, samples = task.reply, task.reply["samples"]
    if sent.layout is None:
        show_reading(posted, console)
    console.print(
        f"{task.id}: {counted(len(posted['classes']), 'class')}, {counted(samples['train'], 'image')} to learn "
        f"from, {samples['eval']} kept out"
    )
    if posted.get("options", {}).get("from_feedback"):
        _show_feedback(client, posted, console)
    _show_unused(posted, sent.files, console)


def _show_feedback(client: Filopodia, posted: replies.Task, console: Console) -> None:
    left = len(client.feedback(posted["learner"], pending=True))
    console.print(f"{posted.get('from_feedback', 0)} pieces of feedback taken, {left} stay pending")
    if left and posted.get("mode") != "extend":
        console.print("--from-feedback --extend takes those on known classes too.", style="dim")


def _show_unused(posted: replies.Task, files: Sequence[Path], console: Console) -> None:
    show_left_out(posted, console)
    for rejected in posted["rejected"]:
        place = _named(rejected, files)
        console.print(f"left out {place}: {rejected['problem']}", style="yellow", soft_wrap=True)
    for blank in posted.get("quarantined", []):
        place = _named(blank, files)
        console.print(f"not used {place}: {blank['reason']}", style="yellow", soft_wrap=True)


def _named(entry: Mapping[str, Any], files: Sequence[Path]) -> str:
    """Return the path of an image as its sender knows it, or what the service calls it."""
    return str(sent_file(files, entry) or entry["filename"] or f"image {entry['index']}")


def _show_findings(task: Task, console: Console) -> None:
    for finding in task.reply.get("findings", []):
        console.print(f"{finding['code']}: {finding['detail']}", style="yellow")


def _post(client: Filopodia, name: str, sent: _Sent, options: TaskOptions, *, is_new: bool) -> Task:
    """Post a task. A learner that was made for it goes again if the task is refused."""
    try:
        return sent.post(client, name, options)
    except ProblemError as problem:
        if problem.code == "learner-not-found":
            problem.detail = f"There is no learner {name} yet: add --create to make it."
        files = sent.files if problem.errors else []
        for error in problem.errors:
            if path := sent_file(files, error):
                error["filename"] = str(path)
        if is_new:
            with suppress(ClientError):
                client.delete_learner(name)
        raise
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    except KeyboardInterrupt:
        make_console(stderr=True).print(
            f"\nStopped while sending. `filopodia tasks {name}` says whether the task came in."
        )
        raise typer.Exit(INTERRUPTED) from None


def _create_if_new(client: Filopodia, name: str, **chosen: Any) -> bool:
    """Return whether the learner was created: false if there is one already."""
    try:
        client.create_learner(name, **chosen)
    except ProblemError as problem:
        if problem.code != "learner-exists":
            raise
        _check_chosen(client.learner(name), **chosen)
        return False
    return True


def _check_chosen(
    learner: replies.Learner,
    *,
    strategy: str | None,
    backbone: str | None,
    config: dict[str, Any] | None,
) -> None:
    """Refuse what was chosen for a new learner and is not what this one has."""
    differing = [
        f"the {what} {has}"
        for what, has, wanted in (
            ("strategy", learner["strategy"], strategy),
            ("backbone", learner["backbone"], backbone),
        )
        if wanted not in (None, has)
    ]
    differing += [
        f"{option} = {json.dumps(learner['config'].get(option))}"
        for option, wanted in (config or {}).items()
        if option not in learner["config"] or learner["config"][option] != wanted
    ]
    if differing:
        raise typer.BadParameter(
            f"The learner {learner['name']} exists already and has {', '.join(differing)}: leave these options out, or "
            "choose another name."
        )


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
