"""`filopodia predict-again`: stored images once more, to see what a version answers otherwise."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from service.cli.archives import show_posted, told
from service.cli.csv_files import CsvOption, open_csv
from service.cli.job_following import fail_unless_done, follow_job, of_jobs
from service.cli.job_report import STORED_COLUMNS, print_changes, results_of, summary, write_rows
from service.cli.job_report import as_json as with_results
from service.cli.jobs import ChangedOption
from service.cli.options import JsonOption, KeyOption, LearnerArgument, UrlOption, connect
from service.cli.output import make_console, print_json
from service.cli.times import moment
from service.remote.calls import given


class Split(StrEnum):
    """What images of a task are for."""

    train = "train"
    eval = "eval"


def predict_again(
    name: LearnerArgument,
    version: Annotated[
        int | None,
        typer.Option(
            "--version", min=1, help="What answers; the version that is served unless set."
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="Only images that were answered with this class, or taught as it."),
    ] = None,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="Only images that looked like nothing learned.")
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Only asked about later: 90m, 2h or 30d ago, or 2026-03-01."
        ),
    ] = None,
    feedback: Annotated[
        bool | None,
        typer.Option(
            "--feedback/--no-feedback", help="Only images with feedback, or only those without."
        ),
    ] = None,
    samples: Annotated[
        bool,
        typer.Option("--samples", help="Images of tasks instead, beside what they are taught as."),
    ] = False,
    task: Annotated[
        int | None, typer.Option(min=1, help="With --samples: only of the task with this index.")
    ] = None,
    split: Annotated[
        Split | None,
        typer.Option(help="With --samples: only those that are learned from, or kept out."),
    ] = None,
    changed: ChangedOption = False,
    wait: Annotated[bool, typer.Option(help="Watch until all are answered.")] = True,
    csv: CsvOption = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask about stored images once more, and show what is answered otherwise than before.

    The images are those that were asked about and kept, or with --samples those that were learned from or kept out.
    With --version that shows what another version would change before `rollback` serves it. Nothing is stored as a
    prediction. Exits with 1 if an image could not be predicted.

    For example `filopodia predict-again birds --version 7 --since 30d`, or `filopodia predict-again birds --samples
    --csv doubts.csv` for training images whose labels may be wrong.
    """
    wanted = _wanted(
        {
            "label": label,
            "known": False if unknown else None,
            "since": None if since is None else moment(since).isoformat(),
            "feedback": feedback,
        },
        {"label": label, "task": task, "split": None if split is None else split.value},
        samples=samples,
    )
    if csv and as_json:
        raise typer.BadParameter("Choose one of --csv and --json.")
    if not wait and csv:
        raise typer.BadParameter("Without waiting there are no answers yet: leave --csv out.")
    with connect(url, key) as client, open_csv(csv, STORED_COLUMNS) as table:
        with of_jobs():
            job = client.predict_again(name, version=version, **wanted)
        if not wait:
            show_posted(job, as_json=as_json)
            return
        errors = make_console(stderr=True)
        errors.print(told(job), style="dim", soft_wrap=True)
        job = follow_job(client, job)
        if as_json:
            print_json(with_results(job, results_of(client, job["id"], changed=changed or None)))
        elif table is not None:
            write_rows(table, job, results_of(client, job["id"], changed=changed or None))
            errors.print(summary(job), soft_wrap=True)
        else:
            console = make_console()
            console.print(summary(job), soft_wrap=True)
            print_changes(client, job, console, is_all=changed)
    fail_unless_done(job)


def _wanted(
    predictions: dict[str, Any], taught: dict[str, Any], *, samples: bool
) -> dict[str, Any]:
    """Return which images to ask about: `predictions` or `samples`, and which of them.

    Raises:
        typer.BadParameter: If something was asked of one that only the other has.
    """
    if samples:
        if given(**predictions | {"label": None}):
            raise typer.BadParameter(
                "--unknown, --since and --feedback are about what was asked: leave --samples out."
            )
        return {"samples": given(**taught)}
    if given(**taught | {"label": None}):
        raise typer.BadParameter("--task and --split are about images of tasks: add --samples.")
    return {"predictions": given(**predictions)}
