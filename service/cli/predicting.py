"""`filopodia predict`: what images show, of a few in full, of many as a table."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from service.cli.answers import CSV_COLUMNS, Report
from service.cli.archives import (
    ArchiveQuestion,
    check_archive_options,
    find_archive,
    predict_archive,
)
from service.cli.batches import Answer, Question, RequestLimits, ask_all
from service.cli.csv_files import CsvOption, open_csv
from service.cli.image_files import STDIN, find_images, shown
from service.cli.options import JsonOption, KeyOption, LearnerArgument, UrlOption, connect
from service.cli.progress import counted
from service.client import ClientError, Filopodia
from service.layout.errors import LayoutError

VersionOption = Annotated[
    int | None,
    typer.Option("--version", min=1, help="An older version; the one that is served unless set."),
]


def predict(
    name: LearnerArgument,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE_OR_FOLDER",
            help="Images, and folders of any depth with images in them; - is the standard input. Or one archive.",
        ),
    ],
    top: Annotated[int, typer.Option(min=1, max=100, help="Labels to show for each image.")] = 5,
    version: VersionOption = None,
    csv: CsvOption = None,
    store: Annotated[
        bool, typer.Option(help="Keep the answers, for `predictions` and `feedback`.")
    ] = True,
    wait: Annotated[
        bool, typer.Option(help="Of an archive: watch until all images are answered.")
    ] = True,
    encoding: Annotated[
        str | None,
        typer.Option(
            help="How names in an archive are written, if not as Unicode: cp850, cp932 ..."
        ),
    ] = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what images show: of a few in full, with the synapses the answer went through; of many, one line each.

    For example `filopodia predict birds new.jpg`, `filopodia predict birds photos --csv answers.csv`, or
    `curl URL | filopodia predict birds -`. Exits with 1 if an image could not be used: it is named, and the others are
    answered.

    The images of an archive (zip or tar) are answered behind all requests, by a job, all by one version: `filopodia
    predict birds summer.zip`. Ctrl-C ends the watching, not the job. With --no-store the job is deleted when its
    answers were shown.
    """
    if csv and as_json:
        raise typer.BadParameter("Choose one of --csv and --json.")
    if gone := [shown(file) for file in files if file != STDIN and not file.exists()]:
        raise typer.BadParameter(f"There is no file or folder {', '.join(gone)}.")
    archive = find_archive(files)
    check_archive_options(archive, encoding=encoding, store=store, wait=wait, csv=csv)
    if archive is not None:
        with connect(url, key) as client:
            asked = ArchiveQuestion(
                name,
                archive,
                top,
                version,
                encoding,
                store=store,
                wait=wait,
                csv=csv,
                as_json=as_json,
            )
            predict_archive(client, asked)
        return
    image_files = find_images(files)
    if not image_files.images:
        raise LayoutError(f"{' '.join(map(shown, files))} holds no image.")
    with open_csv(csv, CSV_COLUMNS) as table, connect(url, key) as client:
        report = Report(image_files, as_json=as_json, table=table)
        question = Question(
            name,
            top=top,
            trace="full" if report.has_routes else "none",
            version=version,
            min_version=newest(client, name, version),
            store=store,
        )
        _answer(client, question, image_files.images, report)
    if any(answer.problem for answer in report.answers):
        raise typer.Exit(1)


def _answer(client: Filopodia, question: Question, images: Sequence[Path], report: Report) -> None:
    """Ask about images and show the answers, also those before a failure."""
    try:
        for answer in ask_with_progress(client, question, images):
            report.take(answer)
    except ClientError:
        report.show_so_far()
        raise
    report.show()


def newest(client: Filopodia, name: str, version: int | None) -> int | None:
    """Return the version to wait for: what was published a moment ago may still be loading."""
    return None if version else client.learner(name)["live_version"] or None


def ask_with_progress(
    client: Filopodia, question: Question, files: Sequence[Path]
) -> Iterator[Answer]:
    """Yield the answer for each file; on a terminal a bar shows how far it is."""
    limits = RequestLimits.of(client)
    answers = ask_all(client, question, files, limits)
    return counted(answers, total=len(files), title="images", is_long=len(files) > limits.images)
