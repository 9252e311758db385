"""`filopodia export` and `filopodia import`: a version of a learner as one file, from one installation into another."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import JsonOption, KeyOption, LearnerArgument, UrlOption, connect
from service.cli.output import make_console, print_json


def export(
    name: LearnerArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False, help="To write.")],
    onnx: Annotated[
        bool,
        typer.Option(
            "--onnx",
            help="As an ONNX model, which answers with onnxruntime alone, but cannot be imported; what a file is "
            "that ends in .onnx.",
        ),
    ] = False,
    version: Annotated[
        int | None, typer.Option(min=1, help="Which version; the one that is served unless set.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file if there is one.")
    ] = False,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a version of a learner to one file: everything it has learned, without images and keys."""
    if not file.parent.is_dir():
        raise typer.BadParameter(f"There is no folder {file.parent}.")
    if file.exists() and not force:
        raise typer.BadParameter(f"{file} exists already: name another file, or add --force.")
    console = make_console(stderr=True)
    with connect(url, key) as client:
        number = version or client.learner(name)["live_version"]
        if not number:
            console.print(f"{name} has learned nothing yet.", style="red")
            raise typer.Exit(1)
        try:
            save = client.save_onnx if onnx or file.suffix == ".onnx" else client.save_bundle
            save(name, number, file)
        except OSError as error:
            console.print(f"{file} cannot be written: {error.strerror or error}.", style="red")
            raise typer.Exit(1) from error
    size = file.stat().st_size
    if as_json:
        print_json({"learner": name, "version": number, "file": str(file), "size_bytes": size})
    else:
        make_console().print(f"Wrote version {number} of {name} to {file}, {size / 1e6:.1f} MB.")


def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="The bundle.")
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of the new learner; what it was called unless set.")
    ] = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a learner from a file that another installation has exported."""
    with connect(url, key) as client:
        learner = client.import_learner(file, name=name)
    if as_json:
        print_json(learner)
    else:
        make_console().print(
            f"{learner['name']} knows {learner['classes']} classes, learned in {learner['tasks']} tasks, and is served."
        )
