"""`filopodia test`: how good a learner is on a folder of images whose class is known."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from service.cli.answers import name_others
from service.cli.batches import Answer, Question
from service.cli.csv_files import CsvOption, open_csv
from service.cli.image_files import shown
from service.cli.measures import Judged, Share
from service.cli.options import (
    JsonOption,
    KeyOption,
    LearnerArgument,
    ManifestOption,
    UrlOption,
    connect,
)
from service.cli.output import make_console, print_json
from service.cli.predicting import VersionOption, ask_with_progress
from service.cli.trial import begin
from service.cli.trial_report import print_trial, trial_json
from service.layout.folders import read_folder
from service.layout.layouts import SYSTEM, Layout, PlacedImage
from service.layout.names import EVAL
from service.remote.folders import read_list

CSV_COLUMNS = ("file", "truth", "label", "right", "score", "known", "problem")


def measure(
    name: LearnerArgument,
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            exists=True,
            file_okay=False,
            help="Images sorted by class, in any layout that learn takes: FOLDER/label/file.",
        ),
    ],
    version: VersionOption = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Also the images that the folder gives to learn from, as train/ does."
        ),
    ] = False,
    manifest: ManifestOption = None,
    splits: Annotated[
        bool,
        typer.Option(help="Read folders such as train and test as splits; without, as classes."),
    ] = True,
    min_accuracy: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Exit with 1 if the accuracy is lower than this."),
    ] = None,
    csv: CsvOption = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a learner on images whose class you know, and which it has not learned from.

    Shows the accuracy with its 95 % interval, each class, what is taken for what, and the images with the most
    confident wrong answers. Classes that it does not know are reported apart. Nothing is stored, and nothing learned.

    For example `filopodia test birds kept-out`, or in a script `filopodia test birds kept-out --min-accuracy 0.9`.
    """
    if csv and as_json:
        raise typer.BadParameter("Choose one of --csv and --json.")
    listed = None if manifest is None else read_list(manifest)
    layout = read_folder(folder, use_splits=splits, listed=listed)
    images = layout.images if everything else _kept_out(layout)
    with open_csv(csv, CSV_COLUMNS) as table, connect(url, key) as client:
        trial = begin(client, name, version)
        question = Question(name, top=1, trace="none", version=trial.version, store=False)
        answers = ask_with_progress(client, question, [folder / image.path for image in images])
        for image, answer in zip(images, answers, strict=True):
            judged = trial.take(image.label, answer)
            if table:
                table.write(_row(image.label, answer, judged))
    left_out = [folder / file.path for file in layout.left_out if file.reason != SYSTEM]
    if as_json:
        print_json(trial_json(trial) | {"left_out": [shown(file) for file in left_out]})
    else:
        console = make_console(stderr=csv == "-")
        _print_reading(layout, len(images), console)
        print_trial(trial, console)
        name_others(left_out, console)
    _require(Share.of(trial.judged).accuracy, min_accuracy)


def _kept_out(layout: Layout) -> tuple[PlacedImage, ...]:
    """Return the images that the folder keeps out of learning; all, if it does not say which."""
    kept_out = tuple(image for image in layout.images if image.split == EVAL)
    return kept_out or layout.images


def _print_reading(layout: Layout, n_images: int, console: Console) -> None:
    """Say how the folder was understood, where that may surprise."""
    for note in layout.notes:
        console.print(note, style="dim")
    if n_images < len(layout.images):
        console.print(
            f"On the {n_images} images that the folder keeps out of learning; --all takes all {len(layout.images)}.",
            style="dim",
        )


def _require(accuracy: float | None, least: float | None) -> None:
    if least is None or (accuracy is not None and accuracy >= least):
        return
    reached = "There is no accuracy" if accuracy is None else f"The accuracy is {accuracy:.2%}"
    make_console(stderr=True).print(f"{reached}, and should be at least {least:.2%}.", style="red")
    raise typer.Exit(1)


def _row(truth: str, answer: Answer, judged: Judged | None) -> list[Any]:
    if judged is None:
        return [shown(answer.file), truth, None, None, None, None, answer.problem]
    right = judged.is_right
    return [
        shown(judged.file),
        judged.truth,
        judged.answer,
        right,
        judged.score,
        judged.known,
        None,
    ]
