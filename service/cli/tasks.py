"""`filopodia task`, `publish`, `cancel` and `retry`: all about one task, and what can be done with it."""

from collections.abc import Iterator
from typing import Annotated, NoReturn

import typer
from rich.table import Table
from rich.text import Text

from service.cli.confirmation import YesOption, confirm, describe_preview
from service.cli.job_following import PREFIX, of_jobs
from service.cli.options import JsonOption, KeyOption, UrlOption, connect
from service.cli.output import make_console, percent, print_json
from service.cli.progress import note_of, phase_of
from service.client import Filopodia, Task, TaskStatus
from service.remote import replies

TaskArgument = Annotated[
    str, typer.Argument(metavar="TASK", help="Id of the task, tsk_..., as tasks shows it.")
]


def show_task(
    task_id: TaskArgument, url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False
) -> None:
    """Show all about one task: how far it is, what looked wrong, what was left out, why it failed."""
    with connect(url, key) as client:
        task = client.task(task_id).reply
        standing = None if as_json else _answers(client, task)
    if as_json:
        print_json(task)
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in _facts(task):
        table.add_row(name, Text(value))
    if standing:
        table.add_row("stands", Text(standing))
    console = make_console()
    console.print(table)
    if way := next_steps(task):
        console.print(way)


def publish(
    task_id: TaskArgument,
    yes: YesOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have a held task all the same: serve its version, or learn it if it was held before that.

    Asks before it publishes what a task has unlearned, since that erases versions for good.
    """
    with connect(url, key) as client:
        task = client.task(task_id).reply
        if task.get("mode") == "unlearn" and task["status"] == TaskStatus.HELD:
            chosen = task["options"]
            preview = client.preview_unlearning(
                task["learner"], tasks=chosen["tasks"], classes=chosen["classes"]
            )
            make_console(stderr=True).print(describe_preview(preview))
            confirm("Publish it for good?", yes=yes)
        _show_change(client.publish_task(task_id), as_json=as_json)


def cancel(
    task_id: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Of a task, tsk_..., or of a prediction job, job_..., as lists show it.",
        ),
    ],
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop a task or a prediction job that waits or runs, or discard a task that is held.

    What is served does not change, and what a prediction job has answered stays.
    """
    with connect(url, key) as client:
        if not task_id.startswith(PREFIX):
            _show_change(client.cancel_task(task_id), as_json=as_json)
            return
        with of_jobs():
            job = client.cancel_prediction_job(task_id)
    if as_json:
        print_json(job)
        return
    images = job["images"]
    make_console().print(
        f"{job['id']} of {job['learner']} is {job['status']}, {images['done']:,} of {images['total']:,} images done"
    )


def retry(
    task_id: TaskArgument, url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False
) -> None:
    """Queue a failed or cancelled task again, with its images and options."""
    with connect(url, key) as client:
        _show_change(client.retry_task(task_id), as_json=as_json)


def next_steps(task: replies.Task) -> str | None:
    """Return the commands that end the waiting of a task that needs a person; None where none does."""
    if task["status"] == TaskStatus.HELD:
        return (
            f"`filopodia publish {task['id']}` has it all the same,\n"
            f"`filopodia cancel {task['id']}` discards it."
        )
    if task["status"] == TaskStatus.FAILED:
        return f"`filopodia retry {task['id']}` tries again."
    return None


def end_unfinished(task: Task, said: str, reason: str | None = None) -> NoReturn:
    """Say that what was waited for did not come, why, and what to do next; end with 1.

    Args:
        task: What was waited for.
        said: What it is not, such as `not learned`.
        reason: Why; what the task says unless set.

    Raises:
        typer.Exit: Always.
    """
    if reason is None:
        error = task.error
        reason = f"{error['code']}: {error['detail']}" if error else task.status
    console = make_console(stderr=True)
    console.print(f"{said}, {reason}", style="red")
    if way := next_steps(task.reply):
        console.print(way)
    raise typer.Exit(1)


def _answers(client: Filopodia, task: replies.Task) -> str | None:
    """Return how a learned task stands whose images have not shaped the features yet; None for any other."""
    if task["status"] != TaskStatus.SUCCEEDED or task.get("consolidation"):
        return None
    told = client.learner(task["learner"]).get("consolidation")
    return told["standing"] if told and task["index"] in told["waiting"] else None


def _show_change(task: Task, *, as_json: bool) -> None:
    if as_json:
        print_json(task.reply)
        return
    version = f" as version {task.version}" if task.status == TaskStatus.SUCCEEDED else ""
    make_console().print(f"{task.id} of {task.reply['learner']} is {task.status}{version}")


def _facts(task: replies.Task) -> Iterator[tuple[str, str]]:
    yield "task", task["id"]
    name = f", {task['name']}" if task["name"] else ""
    what = f"task {task['index']}" if task["index"] > 0 else f"consolidation {-task['index']}"
    yield "of", f"{task['learner']}, {what}{name}"
    yield "status", _status(task)
    yield "mode", task.get("mode", "")
    yield from _content(task)
    if task.get("from_feedback"):
        yield "feedback", f"{task['from_feedback']} pieces taken"
    if known := task.get("known"):
        yield "left out", f"{known} images: known already"
    if copies := task.get("duplicates"):
        yield "left out", f"{copies} images: copies of others in the same class"
    if kept := task.get("splits_kept"):
        yield "kept", f"{kept} images on the side of the split they were on before"
    if task["version"] is not None:
        yield "version", str(task["version"])
    for what in ("created", "started", "finished"):
        moment = {**task}[f"{what}_at"]
        if moment:
            yield what, str(moment)[:19].replace("T", " ")
    yield from _faults(task)


def _content(task: replies.Task) -> Iterator[tuple[str, str]]:
    """Yield what the task brings, or of a consolidation, what it is of."""
    if told := task.get("consolidation"):
        yield "stands", told["standing"]
        yield "tasks", ", ".join(map(str, told["tasks"] or ())) or "all that wait"
        return
    yield "classes", ", ".join(task["classes"])
    samples = task["samples"]
    yield "images", f"{samples['train']} to learn from, {samples['eval']} kept out"


def _faults(task: replies.Task) -> Iterator[tuple[str, str]]:
    if task["error"]:
        yield "error", f"{task['error']['code']}: {task['error']['detail']}"
    for finding in task.get("findings", []):
        yield "finding", f"{finding['code']}: {finding['detail']}"
    for rejected in task["rejected"]:
        yield "left out", f"{rejected['filename'] or rejected['index']}: {rejected['problem']}"
    for unused in task.get("quarantined", []):
        yield "not used", f"{unused['filename'] or unused['index']}: {unused['reason']}"


def _status(task: replies.Task) -> str:
    if task["status"] != TaskStatus.RUNNING:
        return phase_of(task)
    notes = [f"{phase_of(task)} {percent(task['progress']['fraction'])}", note_of(task)]
    attempt = f"attempt {task['attempt']}" if task["attempt"] > 1 else ""
    return f"running: {', '.join(note for note in (*notes, attempt) if note)}"
