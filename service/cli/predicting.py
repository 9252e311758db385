"""`filopodia predict` and `feedback`: what images show by what route, and what is really on them."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import JsonOption, KeyOption, LearnerArgument, UrlOption, connect
from service.cli.output import make_console, print_json, result_lines

BATCH = 64
"""Images in one request: the service's default limit."""


def predict(
    name: LearnerArgument,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", exists=True, dir_okay=False, help="Images."),
    ],
    top: Annotated[int, typer.Option(min=1, max=100, help="Labels to show for each image.")] = 5,
    version: Annotated[int | None, typer.Option(min=1, help="An older version.")] = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what images show: the best labels, and the synapses the answer went through."""
    console = make_console()
    answered = []
    with connect(url, key) as client:
        # What was published a moment ago may still be loading: wait for it rather than answer with the version before.
        newest = None if version else client.learner(name)["live_version"] or None
        for start in range(0, len(files), BATCH):
            batch = [(file.name, file.read_bytes()) for file in files[start : start + BATCH]]
            answered.append(
                client.predict(name, batch, top_k=top, version=version, min_version=newest)
            )
    if as_json:
        print_json(answered[0] if len(answered) == 1 else answered)
    else:
        for start, prediction in zip(range(0, len(files), BATCH), answered, strict=True):
            for result in prediction["results"]:
                file = files[start + result["index"]]
                place = f" --index {result['index']}" if result["index"] else ""
                by = f"(version {prediction['version']})"
                console.print(f"{file} {by}  {prediction['id']}{place}", soft_wrap=True)
                for line in result_lines(result):
                    console.print(line)
    if any(result.get("problem") for prediction in answered for result in prediction["results"]):
        raise typer.Exit(1)


def feedback(
    prediction: Annotated[str, typer.Argument(metavar="PREDICTION", help="As predict shows it.")],
    label: Annotated[str, typer.Argument(metavar="LABEL", help="What is really on the image.")],
    index: Annotated[
        int, typer.Option(min=0, help="Which image, if several were asked about at once.")
    ] = 0,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is really on an image that was predicted, so that it can be learned.

    `filopodia learn NAME --from-feedback` takes what is said of new classes; with --extend, also
    what is said of known ones.
    """
    with connect(url, key) as client:
        stored = client.give_feedback(prediction, label, index=index)
    if as_json:
        print_json(stored)
        return
    result = stored["results"][index]
    name = result["filename"] or f"Image {index}"
    make_console().print(
        f"{name}, answered {result['label']}, is {label}: kept for the next learn --from-feedback."
    )
