"""`filopodia background`: statistics of general images for a backbone, from any folder of images."""

from pathlib import Path
from typing import Annotated

import typer

from models.errors import LearnerError
from registry.errors import RegistryError
from service.cli.image_files import find_images, shown
from service.cli.layout_report import show_layout
from service.cli.output import make_console
from service.layout.errors import LayoutError, NoImagesError
from service.layout.folders import read_folder
from service.layout.names import EVAL
from service.settings import ServiceSettings

NAMED = 10
"""Files that cannot be used and are named; of more the number is said."""


def background(
    backbone: Annotated[
        str, typer.Argument(metavar="BACKBONE", help="Its name, as `filopodia backbones` has it.")
    ],
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            exists=True,
            file_okay=False,
            help="General photographs, one folder a class, as for `learn`.",
        ),
    ],
    classes: Annotated[
        bool,
        typer.Option(
            "--classes/--no-classes",
            help="Whether the folders name classes. Without, the result is worth less.",
        ),
    ] = True,
    per_class: Annotated[
        int | None,
        typer.Option(
            min=2, help="Most images of a class; 30 unless set, or more if the classes are few."
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            help="Weights file, or folder of such; FILOPODIA_BACKBONE_WEIGHTS unless set.",
        ),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Input side in pixels, if not the backbone's own.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="File to write; beside the weights unless set."),
    ] = None,
) -> None:
    """Measure general images, so that learners on a backbone know how images usually lie.

    The images should be photographs of many different things, like those to come, and sorted by what they show. A few
    thousand are enough. Only their mean and covariances are written, nothing of a single image.
    """
    # Here, since --help should not wait seconds for torch.
    from service.cli.local.general_images import Wanted, make_background

    console, skipped = make_console(), _Skipped()
    try:
        settings = ServiceSettings.read()
        wanted = Wanted(backbone, weights or settings.backbone_weights, image_size, per_class)
        file = out or wanted.folder / wanted.file_name
        if not file.parent.is_dir():
            raise typer.BadParameter(f"There is no folder {file.parent}.")
        images = _find(folder, with_classes=classes)
        data, made = make_background(wanted, images, settings, skipped)
        _write(file, data)
    except (LearnerError, RegistryError) as error:
        make_console(stderr=True).print(str(error), style="red", soft_wrap=True)
        raise typer.Exit(1) from error
    finally:
        skipped.tell_rest()
    of_classes = f" of {made.n_classes:,} classes" if made.n_classes else ", classes unknown"
    size = f"{len(data) / 1000:,.0f} kB"
    console.print(f"Wrote {file}: {made.n_images:,} images{of_classes}, {size}.", soft_wrap=True)
    if wanted.weights is None or file.parent.resolve() != wanted.folder.resolve():
        console.print("Put it into the folder that FILOPODIA_BACKBONE_WEIGHTS names.")
    console.print("Services and workers take it when they start again.")


def _find(folder: Path, *, with_classes: bool) -> list[tuple[Path, str | None]]:
    """Return the images of a folder with what they show; of split folders those that are to be learned from."""
    if not with_classes:
        return [(path, None) for path in find_images([folder]).images]
    try:
        layout = read_folder(folder)
        layout.require_training()
    except NoImagesError:
        raise
    except LayoutError as error:
        error.add("--no-classes takes images from anywhere in a folder.")
        raise
    show_layout(folder, layout, make_console())
    return [(folder / image.path, image.label) for image in layout.images if image.split != EVAL]


class _Skipped:
    """Names files that cannot be used."""

    def __init__(self) -> None:
        self._n = 0
        self._console = make_console(stderr=True)

    def __call__(self, path: Path, reason: str) -> None:
        """Name one, unless there were many."""
        self._n += 1
        if self._n <= NAMED:
            self._console.print(f"left out: {shown(path)}: {reason}", soft_wrap=True)

    def tell_rest(self) -> None:
        """Say how many were not named."""
        if self._n > NAMED:
            self._console.print(f"left out: {self._n - NAMED:,} more files")


def _write(file: Path, data: bytes) -> None:
    """Replace a file in one step: a service that starts meanwhile reads all of it, or the old one."""
    temporary = file.with_name(f".{file.name}.tmp")
    temporary.write_bytes(data)
    temporary.replace(file)
