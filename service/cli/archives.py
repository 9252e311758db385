"""`filopodia predict` with an archive: its images are predicted by a job, behind all requests."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.text import Text

from service.cli.answers import CSV_COLUMNS
from service.cli.csv_files import open_csv
from service.cli.image_files import shown
from service.cli.job_following import fail_unless_done, follow_job, of_jobs
from service.cli.job_report import as_json, images_of, print_answers, results_of, write_rows
from service.cli.output import make_console, print_json
from service.cli.progress import INTERRUPTED
from service.client import Filopodia
from service.remote import replies
from service.remote.task_calls import ARCHIVES


@dataclass(frozen=True)
class ArchiveQuestion:
    """What to ask of the images of an archive, and what to do with the answers."""

    learner: str
    archive: Path
    top: int
    version: int | None
    encoding: str | None
    store: bool
    """Whether the job is kept when its answers were shown."""
    wait: bool
    csv: str | None
    as_json: bool


def find_archive(files: Sequence[Path]) -> Path | None:
    """Return the archive among the files that are named; None if they are images and folders.

    Raises:
        typer.BadParameter: If it is not the only one.
    """
    archives = [f for f in files if f.suffix.lower() in ARCHIVES and not f.is_dir()]
    if not archives:
        return None
    if len(files) > 1:
        raise typer.BadParameter(
            f"An archive is asked about by itself: name {shown(archives[0])} alone."
        )
    return archives[0]


def check_archive_options(
    archive: Path | None, *, encoding: str | None, store: bool, wait: bool, csv: str | None
) -> None:
    """Refuse options that make no sense with an archive, or without one.

    Raises:
        typer.BadParameter: Then.
    """
    if archive is None and not (wait and encoding is None):
        raise typer.BadParameter("--no-wait and --encoding go with an archive.")
    if not wait and csv:
        raise typer.BadParameter("Without waiting there are no answers yet: leave --csv out.")
    if not wait and not store:
        raise typer.BadParameter(
            "With --no-store the answers are kept until they are shown: leave --no-wait out."
        )


def predict_archive(client: Filopodia, question: ArchiveQuestion) -> None:
    """Have a job predict the images of an archive, and show what it came to.

    Raises:
        typer.Exit: With 1 if an image could not be used, or the job did not come to its end.
    """
    if not question.wait:
        show_posted(_send(client, question), as_json=question.as_json)
        return
    with open_csv(question.csv, CSV_COLUMNS) as table:
        job = _send(client, question)
        with _kept(client, job, store=question.store):
            make_console(stderr=True).print(told(job), style="dim", soft_wrap=True)
            job = follow_job(client, job, stays=question.store)
            results = list(results_of(client, job["id"]))
            if question.as_json:
                print_json(as_json(job, results))
            elif table is not None:
                write_rows(table, job, results)
            if not question.as_json:
                print_answers(job, results, is_table=table is None)
    fail_unless_done(job)


def show_posted(job: replies.PredictionJob, *, as_json: bool) -> None:
    """Say what was posted, and how to look at it."""
    if as_json:
        print_json(job)
        return
    console = make_console()
    console.print(told(job), soft_wrap=True)
    console.print(f"`filopodia job {job['id']}` shows what it came to.", soft_wrap=True)


def told(job: replies.PredictionJob) -> str:
    """Return what a job does, in one line."""
    return f"{job['id']}: {images_of(job['images']['total'])}, by version {job['version']}"


def _send(client: Filopodia, question: ArchiveQuestion) -> replies.PredictionJob:
    name = shown(Path(question.archive.name))
    try:
        # Nothing but a terminal is shown it.
        with make_console(stderr=True).status(Text(f"Sending {name}")), of_jobs():
            return client.predict_archive(
                question.learner,
                question.archive,
                top_k=question.top,
                version=question.version,
                encoding=question.encoding,
            )
    except KeyboardInterrupt:
        make_console(stderr=True).print(
            f"\nStopped while sending. `filopodia jobs {question.learner}` says whether the images came in.",
            soft_wrap=True,
        )
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def _kept(client: Filopodia, job: replies.PredictionJob, *, store: bool) -> Iterator[None]:
    """Delete a job that is not to be kept, also if it was not waited for to its end."""
    try:
        yield
    finally:
        if not store:
            client.delete_prediction_job(job["id"])
            make_console(stderr=True).print(
                f"Deleted {job['id']}, as --no-store asks.", style="dim"
            )
