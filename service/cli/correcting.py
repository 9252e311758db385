"""`filopodia images`, `move-images`, `remove-images` and `undo`: correct what learned images show."""

from collections.abc import Mapping
from typing import Annotated

import typer

from service.cli.options import JsonOption, KeyOption, LearnerArgument, UrlOption, connect
from service.cli.output import headline, make_console, print_json, print_table
from service.cli.progress import follow
from service.cli.tasks import end_unfinished
from service.client import Filopodia, Task, TaskStatus

ImagesArgument = Annotated[
    list[str], typer.Argument(metavar="IMAGE...", help="Ids of images, smp_..., as `images` lists.")
]
WaitOption = Annotated[bool, typer.Option(help="Watch until it is published.")]


def list_images(
    name: LearnerArgument,
    label: Annotated[
        str | None, typer.Argument(metavar="CLASS", help="Of this class, by its label or name.")
    ] = None,
    held_out: Annotated[
        bool | None, typer.Option("--held-out/--learned", help="Only these.", show_default=False)
    ] = None,
    removed: Annotated[
        bool, typer.Option("--removed", help="Those that were taken out instead.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Most to list.")] = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the images that a learner has learned or is measured with."""
    split = None if held_out is None else "eval" if held_out else "train"
    with connect(url, key) as client:
        found = client.class_samples(name, label, split=split, removed=removed or None, limit=limit)
    if as_json:
        print_json(found)
        return
    print_table(
        ("image", "class", "sent as", "file", ""),
        (
            (
                image["id"],
                image["label"],
                image.get("taught_label") or "",
                image["filename"] or "",
                "held out" if image["split"] == "eval" else "",
            )
            for image in found
        ),
        empty="No such image.",
    )


def move_images(
    name: LearnerArgument,
    to: Annotated[
        str, typer.Argument(metavar="CLASS", help="The class that they show, which is known.")
    ],
    images: ImagesArgument,
    wait: WaitOption = True,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move learned images to another class. Nothing is trained: it is answered so within seconds."""
    with connect(url, key) as client:
        _correct(client, name, dict.fromkeys(images, to), wait=wait, as_json=as_json)


def remove_images(
    name: LearnerArgument,
    images: ImagesArgument,
    wait: WaitOption = True,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take learned images out. They are kept, so that `undo` can bring them back; `unlearn` deletes for good."""
    with connect(url, key) as client:
        _correct(client, name, dict.fromkeys(images), wait=wait, as_json=as_json)


def undo(
    name: LearnerArgument,
    task_id: Annotated[
        str, typer.Argument(metavar="TASK", help="Id of the correction, tsk_..., as lists show it.")
    ],
    wait: WaitOption = True,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a correction back: its images show what they did before, but for those changed again since."""
    with connect(url, key) as client:
        _end(client, client.undo_correction(name, task_id), wait=wait, as_json=as_json)


def _correct(
    client: Filopodia,
    name: str,
    changes: Mapping[str, str | None],
    *,
    wait: bool,
    as_json: bool,
) -> None:
    _end(client, client.correct(name, changes), wait=wait, as_json=as_json)


def _end(client: Filopodia, task: Task, *, wait: bool, as_json: bool) -> None:
    """Watch a correction, and say what came of it."""
    console = make_console(stderr=as_json)
    console.print(f"{task.id}: corrects {', '.join(task.reply['classes'])}")
    if wait:
        follow(task, console, f"task {task.reply['index']}")
    if as_json:
        print_json(task.reply)
    elif task.status == TaskStatus.SUCCEEDED:
        _tell(client, task)
    if wait and task.status != TaskStatus.SUCCEEDED:
        end_unfinished(task, "not corrected")


def _tell(client: Filopodia, task: Task) -> None:
    console = make_console()
    name, number = task.reply["learner"], task.reply["version"]
    assert number is not None
    done = client.version(name, number).get("metrics", {}).get("correction", {})
    console.print(f"Version {number} answers so. To take it back: filopodia undo {name} {task.id}")
    if residue := done.get("residue", ""):
        console.print(f"What still carries a trace: {residue}", style="yellow")
    console.print(headline(client.accuracy(name, version=number)))
