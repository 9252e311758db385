"""`filopodia jobs` and `job`: prediction jobs, how far they are, and what they came to."""

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.cli.csv_files import CsvOption, open_csv
from service.cli.job_following import fail_unless_done, follow_job, note_of, of_jobs
from service.cli.job_report import (
    as_json,
    columns_of,
    images_of,
    is_of_stored,
    name_problems,
    print_answers,
    print_changes,
    print_stored,
    results_of,
    summary,
    write_rows,
)
from service.cli.options import JsonOption, KeyOption, LearnerArgument, UrlOption, connect
from service.cli.output import make_console, percent, print_json, print_table
from service.cli.times import second
from service.client import Filopodia
from service.remote import replies
from service.remote.statuses import ENDED, TaskStatus

JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="Id of the job, job_..., as jobs shows it.")
]
ChangedOption = Annotated[
    bool, typer.Option("--changed", help="All images that are answered otherwise, and no others.")
]
SOURCES = {"upload": "sent", "predictions": "predictions", "samples": "tasks"}
LABELS = 20
"""Most labels that are counted."""


def jobs(
    name: LearnerArgument,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 20,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List a learner's prediction jobs, newest first: images of an archive that was sent, or stored ones again.

    Times are UTC.
    """
    with connect(url, key) as client, of_jobs():
        items = client.prediction_jobs(name, limit=limit)
    if as_json:
        print_json(items)
        return
    print_table(
        ("id", "when", "images of", "version", "status", "done", "changed", "error"),
        (
            (
                job["id"],
                second(job["created_at"]),
                SOURCES.get(job["source"], job["source"]),
                job["version"],
                job["status"],
                f"{job['images']['done']:,} of {job['images']['total']:,}",
                f"{job['images']['changed']:,}" if is_of_stored(job) else "",
                job["error"]["code"] if job["error"] else "",
            )
            for job in items
        ),
        empty="No prediction job yet.",
    )


def show_job(
    job_id: JobArgument,
    images: Annotated[
        bool, typer.Option("--images", help="All its images too, one line each.")
    ] = False,
    changed: ChangedOption = False,
    wait: Annotated[bool, typer.Option(help="Watch until it has ended.")] = True,
    csv: CsvOption = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a prediction job came to, when it has ended: what is on its images, and what is answered otherwise.

    Ctrl-C ends the watching, not the job; `filopodia cancel JOB` stops it, and `filopodia delete JOB` deletes it. With
    --json, what each image came to is there with --images or --changed. Exits with 1 if the job failed, or an image
    could not be predicted; with --no-wait it shows how far the job is, and exits with 0.
    """
    if csv and as_json:
        raise typer.BadParameter("Choose one of --csv and --json.")
    if images and changed:
        raise typer.BadParameter("Choose one of --images and --changed.")
    with connect(url, key) as client, of_jobs():
        job = client.prediction_job(job_id)
        if changed and not is_of_stored(job):
            raise typer.BadParameter(
                "These images were sent: nothing was said about them before that could have changed."
            )
        if wait:
            job = follow_job(client, job)
        if as_json:
            _print_json(client, job, images=images, changed=changed)
        elif csv:
            with open_csv(csv, columns_of(job)) as table:
                assert table is not None
                write_rows(table, job, results_of(client, job_id, changed=changed or None))
        else:
            _print_facts(job)
            print_came_to(client, job, make_console(), images=images, changed=changed)
    if wait:
        fail_unless_done(job)


def print_came_to(
    client: Filopodia,
    job: replies.PredictionJob,
    console: Console,
    *,
    images: bool = False,
    changed: bool = False,
) -> None:
    """Show what the images of a job came to: all of them, what changed, or what could not be predicted.

    Args:
        client: Of the service.
        job: The job.
        console: Where to say what stands in no table.
        images: Show all images.
        changed: Show all that are answered otherwise.
    """
    if images:
        results = list(results_of(client, job["id"]))
        if is_of_stored(job):
            print_stored(job, results)
        else:
            print_answers(job, results, is_table=True)
    elif is_of_stored(job):
        console.print(summary(job), soft_wrap=True)
        print_changes(client, job, console, is_all=changed)
    else:
        name_problems(client, job, console)


def _print_json(
    client: Filopodia, job: replies.PredictionJob, *, images: bool, changed: bool
) -> None:
    if images or changed:
        print_json(as_json(job, results_of(client, job["id"], changed=changed or None)))
    else:
        print_json(job)


def _print_facts(job: replies.PredictionJob) -> None:
    console = make_console()
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in _facts(job):
        table.add_row(name, Text(value))
    console.print(table)
    if job["labels"]:
        print_table(
            ("label", "images"),
            ((count["label"], count["images"]) for count in job["labels"][:LABELS]),
            empty="",
        )
    if len(job["labels"]) > LABELS:
        console.print(f"... and {len(job['labels']) - LABELS:,} more labels", style="dim")


def _facts(job: replies.PredictionJob) -> Iterator[tuple[str, str]]:
    images = job["images"]
    yield "job", job["id"]
    yield "of", f"{job['learner']}, version {job['version']}"
    yield "images", f"{images_of(images['total'])} {_origin(job)}"
    yield "status", _status(job)
    if images["unknown"]:
        yield "not known", f"{images['unknown']:,} of {images['done']:,}"
    for what in ("created", "started", "finished"):
        if moment := {**job}[f"{what}_at"]:
            yield what, second(str(moment))
    if job["error"]:
        yield "error", f"{job['error']['code']}: {job['error']['detail']}"


def _status(job: replies.PredictionJob) -> str:
    if job["status"] in ENDED:
        return job["status"]
    images = job["images"]
    share = percent(images["done"] / images["total"])
    left = note_of(job) if job["status"] == TaskStatus.RUNNING else ""
    return ", ".join(word for word in (f"{job['status']}: {share} done", left) if word)


def _origin(job: replies.PredictionJob) -> str:
    """Return where a job's images are from, and which of those they are.

    Example:
        >>> _origin({"source": "predictions", "query": {"predictions": {"label": "heron", "known": False}}})
        'kept with predictions (label heron, known no)'
        >>> _origin({"source": "upload", "query": {}}), _origin({"source": "samples", "query": {"samples": {}}})
        ('that were sent', 'of tasks')
    """
    origins = {"predictions": "kept with predictions", "samples": "of tasks"}
    asked = job["query"].get(job["source"])
    said = ", ".join(
        f"{what} {_word(value)}" for what, value in (asked or {}).items() if value is not None
    )
    return origins.get(job["source"], "that were sent") + (f" ({said})" if said else "")


def _word(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
