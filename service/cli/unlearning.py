"""`filopodia unlearn`, `rollback` and `delete`: take back what was learned, for good or for now."""

from typing import Annotated

import typer

from service.cli.confirmation import YesOption, confirm, describe_preview
from service.cli.job_following import PREFIX, of_jobs
from service.cli.job_report import images_of, is_of_stored
from service.cli.options import (
    JsonOption,
    KeyOption,
    LearnerArgument,
    UrlOption,
    connect,
    learner_names,
)
from service.cli.output import headline, make_console, print_json
from service.cli.progress import follow
from service.cli.tasks import end_unfinished
from service.client import Filopodia, Task, TaskStatus


def unlearn(
    name: LearnerArgument,
    tasks: Annotated[
        list[int] | None, typer.Option("--task", min=1, help="Index of a task. May be repeated.")
    ] = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="Label of a class. May be repeated.")
    ] = None,
    title: Annotated[str | None, typer.Option("--name", help="What to call the task.")] = None,
    max_forgetting: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="Hold it back if the rest is forgotten more than this."
        ),
    ] = None,
    wait: Annotated[bool, typer.Option(help="Watch until it is unlearned.")] = True,
    yes: YesOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take tasks or classes out of what a learner knows, with their images and every version that held them.

    Says first which versions that erases, and asks: there is no way back once it is published. `filopodia rollback`
    serves an older version and deletes nothing.
    """
    if not tasks and not classes:
        raise typer.BadParameter("Name at least one --task or --class.")
    console = make_console(stderr=as_json)
    with connect(url, key) as client:
        preview = client.preview_unlearning(name, tasks=tasks or (), classes=classes or ())
        console.print(describe_preview(preview))
        confirm("Unlearn it for good?", yes=yes)
        task = client.unlearn(
            name,
            tasks=tasks or (),
            classes=classes or (),
            title=title,
            max_forgetting=max_forgetting,
        )
        console.print(f"{task.id}: unlearns {', '.join(task.reply['classes']) or 'images'}")
        if wait:
            follow(task, console, f"task {task.reply['index']}")
        if as_json:
            print_json(task.reply)
        elif task.status == TaskStatus.SUCCEEDED:
            _tell(client, task)
    if wait and task.status != TaskStatus.SUCCEEDED:
        end_unfinished(task, "not unlearned")


def rollback(
    name: LearnerArgument,
    version: Annotated[
        int, typer.Argument(metavar="VERSION", min=1, help="Number of the version to serve.")
    ],
    move_head: Annotated[
        bool,
        typer.Option("--move-head", help="Also learn on from there; later tasks are superseded."),
    ] = False,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve another version, older or newer. Nothing is deleted."""
    with connect(url, key) as client:
        alias = client.move_live(name, version, move_head=move_head)
    if as_json:
        print_json(alias)
        return
    make_console().print(
        f"{name} answers with version {alias['version']}; the next task builds on version "
        f"{alias.get('head_version')}."
    )


def delete(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Name of the learner, or id of a prediction job, job_...",
            autocompletion=learner_names,
        ),
    ],
    yes: YesOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a learner with its tasks, images, versions and predictions, or one prediction job with its answers.

    There is no way back.
    """
    with connect(url, key) as client:
        if name.startswith(PREFIX):
            _delete_job(client, name, yes=yes)
        else:
            _delete_learner(client, name, yes=yes)
    if as_json:
        print_json({"id" if name.startswith(PREFIX) else "name": name, "deleted": True})
    else:
        make_console().print(f"deleted {name}")


def _delete_learner(client: Filopodia, name: str, *, yes: bool) -> None:
    learner = client.learner(name)
    confirm(
        f"Delete {name}, its {learner['classes']} classes, its images, its versions and its predictions for good?",
        yes=yes,
    )
    client.delete_learner(name)


def _delete_job(client: Filopodia, job_id: str, *, yes: bool) -> None:
    with of_jobs():
        job = client.prediction_job(job_id)
    n = images_of(job["images"]["total"])
    what = f"its answers about {n} of {job['learner']}" if is_of_stored(job) else f"its {n}"
    confirm(f"Delete {job_id} with {what} for good?", yes=yes)
    client.delete_prediction_job(job_id)


def _tell(client: Filopodia, task: Task) -> None:
    console = make_console()
    name, number = task.reply["learner"], task.reply["version"]
    assert number is not None
    done = client.version(name, number).get("metrics", {}).get("unlearning", {})
    residue = done.get("residue", "")
    console.print(f"Version {number} is without it.")
    if residue:
        console.print(f"What still carries a trace: {residue}", style="yellow")
    else:
        console.print("Nothing in it carries a trace.")
    console.print(headline(client.accuracy(name, version=number)))
