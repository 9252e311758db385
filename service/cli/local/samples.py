"""`filopodia samples`: pictures to try the service with, made on the spot."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from service.cli.local.demo_digits import DigitsMissingError, digit_tasks
from service.cli.local.sample_pictures import draw
from service.cli.output import make_console

FOLDERS = {"fruit": ("apple", "banana", "orange"), "more-fruit": ("pear", "plum")}
"""What is taught first, and next."""
PER_CLASS = 12
UNTAUGHT = "leaf"
DIGITS_AT_ONCE = 5
NEW_DIGITS = 2


def samples(
    folder: Annotated[Path, typer.Argument(help="Folder to write to.")] = Path("samples"),
    digits: Annotated[
        bool, typer.Option("--digits", help="Handwritten digits instead, 1,797 real images.")
    ] = False,
) -> None:
    """Write pictures to try the service with, and say what to do with them. Nothing is downloaded.

    Fruit, drawn like photographs: two folders to learn from, one after the other, and new pictures to ask about, one of
    them of a thing that nobody taught. Or the digits that come with scikit-learn.
    """
    try:
        files = dict(_digits() if digits else _fruit())
    except DigitsMissingError as error:
        raise typer.BadParameter(str(error)) from None
    for name, data in files.items():
        if (folder / name).exists() and (folder / name).read_bytes() != data:
            raise typer.BadParameter(
                f"{folder / name} is there already and is another file: name another folder."
            )
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    console = make_console()
    first, second, new = dict.fromkeys(name.split("/")[0] for name in files)
    console.print(f"Wrote {len(files)} pictures to {folder}. Try:", soft_wrap=True)
    shown = next(name for name in files if name.startswith(f"{new}/"))
    for command in (
        f"learn {first} {folder / first} --create",
        f"predict {first} {folder / shown}",
        f"learn {first} {folder / second}",
    ):
        console.print(f"  filopodia {command}", soft_wrap=True)


def _fruit() -> Iterator[tuple[str, bytes]]:
    for folder, kinds in FOLDERS.items():
        for kind in kinds:
            for i in range(1, PER_CLASS + 1):
                yield f"{folder}/{kind}/{i:02d}.jpg", draw(kind, i)
    for kind in (*(kind for kinds in FOLDERS.values() for kind in kinds), UNTAUGHT):
        yield f"new/{kind}.jpg", draw(kind, 0)


def _digits() -> Iterator[tuple[str, bytes]]:
    """Yield all digits; a few of each are new ones, which no folder holds."""
    all_digits = [digit for digits in digit_tasks() for digit in digits]
    new: dict[str, int] = {}
    files = []
    for i, digit in enumerate(all_digits):
        data = digit.as_image().data
        if digit.is_held_out and new.get(digit.label, 0) < NEW_DIGITS:
            new[digit.label] = new.get(digit.label, 0) + 1
            files.append((f"new-digits/{digit.label}-{new[digit.label]}.png", data))
        else:
            folder = "digits" if int(digit.label) < DIGITS_AT_ONCE else "more-digits"
            files.append((f"{folder}/{digit.label}/{i:04d}.png", data))
    order = ("digits/", "more-digits/", "new-digits/")
    yield from sorted(files, key=lambda file: [file[0].startswith(o) for o in order], reverse=True)
