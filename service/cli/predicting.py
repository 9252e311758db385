"""`filopodia predict`: what images show, and the route each answer took."""

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
        for prediction in answered:
            for result in prediction["results"]:
                console.print(f"{result['filename']} (version {prediction['version']})")
                for line in result_lines(result):
                    console.print(line)
    if any(result.get("problem") for prediction in answered for result in prediction["results"]):
        raise typer.Exit(1)
