"""Prediction jobs while they run: a bar on a terminal, what Ctrl-C leaves, and a service that has none."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from service.cli.output import make_console
from service.cli.progress import INTERRUPTED
from service.client import Filopodia, ProblemError
from service.remote import replies
from service.remote.statuses import ENDED, TaskStatus

PREFIX = "job_"
"""How the ids of prediction jobs begin; those of tasks and the names of learners never do."""
NO_JOBS = "This service is older than this command and has no prediction jobs."
NO_SUCH_PLACE = frozenset({"not-found", "http-404"})
"""What is answered where there is no such route, by a service or by a proxy."""


@contextmanager
def of_jobs() -> Iterator[None]:
    """Say so where a service has no prediction jobs yet.

    Raises:
        ProblemError: What the service answers.
    """
    try:
        yield
    except ProblemError as problem:
        if problem.code in NO_SUCH_PLACE:
            problem.detail = NO_JOBS
        raise


def follow_job(
    client: Filopodia, job: replies.PredictionJob, *, stays: bool = True
) -> replies.PredictionJob:
    """Wait until a job has ended and return it; on a terminal's standard error a bar shows how far it is.

    Ctrl-C ends the watching, not the job, and says so.

    Args:
        client: Of the service.
        job: The job.
        stays: False if it is deleted once nobody watches.

    Raises:
        typer.Exit: After Ctrl-C.
    """
    if job["status"] in ENDED:
        return job
    try:
        return _follow(client, job)
    except KeyboardInterrupt:
        if stays:
            make_console(stderr=True).print(
                f"\nThe job goes on without you. `filopodia job {job['id']}` shows what it came to,\n"
                f"`filopodia cancel {job['id']}` stops it.",
                soft_wrap=True,
            )
        raise typer.Exit(INTERRUPTED) from None


def _follow(client: Filopodia, job: replies.PredictionJob) -> replies.PredictionJob:
    console = make_console(stderr=True)
    if not console.is_terminal:
        return client.follow_prediction_job(job["id"])
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("[dim]{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        images = job["images"]
        bar = progress.add_task(
            "images", total=images["total"], completed=images["done"], note=note_of(job)
        )

        def show(job: replies.PredictionJob) -> None:
            progress.update(bar, completed=job["images"]["done"], note=note_of(job))

        return client.follow_prediction_job(job["id"], show)


def note_of(job: replies.PredictionJob) -> str:
    """Return what a job waits for, or how long it takes as far as that is known; nothing once it has ended.

    Example:
        >>> note_of({"status": "queued"}), note_of({"status": "running", "eta_seconds": 12.3})
        ('queued', '12 s left')
    """
    if job["status"] == TaskStatus.QUEUED:
        return "queued"
    left_s = job["eta_seconds"] if job["status"] == TaskStatus.RUNNING else None
    return "" if left_s is None else f"{left_s:.0f} s left"


def fail_unless_done(job: replies.PredictionJob) -> None:
    """End with 1 if a job that was waited for did not come to its end, or an image of it could not be predicted.

    Raises:
        typer.Exit: Then.
    """
    if job["status"] != TaskStatus.SUCCEEDED:
        error, images = job["error"], job["images"]
        reason = f"{error['code']}: {error['detail']}" if error else job["status"]
        make_console(stderr=True).print(
            f"{images['done']:,} of {images['total']:,} images done, {reason}", style="red"
        )
        raise typer.Exit(1)
    if job["images"]["problems"]:
        raise typer.Exit(1)
