"""Where backgrounds lie: files `<name of a backbone>[.anything].background.safetensors`, beside its weights.

One with an image size in its name, as in `<name>.112px.background.safetensors`, is for that size alone, so that several
can lie side by side.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from models.background import Background, describe
from models.errors import BackboneError

SUFFIX = ".background.safetensors"
_MOST_HEADER = 100_000  # bytes that are read to tell what a file was made of


@dataclass(frozen=True)
class BackgroundInfo:
    """What a background was made of."""

    n_images: int
    n_classes: int
    """0 if they were not known."""


def background_files(name: str, image_size: int, folders: Iterable[Path]) -> list[Path]:
    """Return the files named after a backbone, for that image size, in the first of these folders that has any."""
    for folder in folders:
        files = sorted(file for file in folder.glob(f"*{SUFFIX}") if file.is_file())
        own = [file for file in files if _is_for(file, name, image_size)]
        if own:
            return own
    return []


def read_info(file: Path) -> BackgroundInfo | None:
    """Say what a file was made of, by its header alone; None if it cannot be read."""
    try:
        with file.open("rb") as stream:
            described = describe(stream.read(_MOST_HEADER))
        return BackgroundInfo(int(described["n_images"]), int(described["n_classes"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def choose_background(
    name: str, image_size: int, fingerprint: str, folders: Iterable[Path]
) -> Background | None:
    """Return the background of a backbone, if there is one.

    Args:
        name: The backbone's.
        image_size: Its input side in pixels.
        fingerprint: Of its weights and preprocessing.
        folders: Where to look; the first one with a file of that name decides.

    Raises:
        BackboneError: If a file is damaged, or all are of other weights or of another image size. They are not passed
            over: whoever put them there would get other answers than they believe, and nothing would say so.
    """
    files = background_files(name, image_size, folders)
    for file in files:
        background = _read(file)
        if background.fingerprint == fingerprint:
            return background
    if files:
        raise BackboneError(
            f"The background {files[0].name} was made with other weights or for another image size than backbone "
            f"{name} has here: make it again with `filopodia background {name}`, or remove it."
        )
    return None


def _is_for(file: Path, name: str, image_size: int) -> bool:
    stem = file.name.removesuffix(SUFFIX)
    if not f"{stem}.".startswith(f"{name}."):
        return False
    sizes = re.findall(r"(?<=\.)([1-9][0-9]*)px(?=\.|$)", stem.removeprefix(name))
    return not sizes or sizes == [str(image_size)]


def _read(file: Path) -> Background:
    try:
        return Background.from_bytes(file.read_bytes())
    except (OSError, BackboneError) as error:
        raise BackboneError(
            f"The background {file.name} cannot be read: make it again, or remove it."
        ) from error
