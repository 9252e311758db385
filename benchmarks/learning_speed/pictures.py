"""Classes to teach: invented characters, or those of CIFAR-100."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.datasets import read_split
from benchmarks.glyphs import draw_all


@dataclass(frozen=True)
class Taught:
    """One class: what is taught of it, and what it is asked about."""

    label: str
    images: list[bytes]
    """PNG files."""
    asked: list[bytes]
    """PNG files; never taught."""


def make_classes(
    n: int, images: int, *, asked: int = 1, cifar100: Path | None = None, seed: int = 0
) -> list[Taught]:
    """Make classes, the same for the same seed.

    Args:
        n: How many.
        images: To teach of each.
        asked: To ask about of each.
        cifar100: Folder of CIFAR-100; characters are invented without. After its hundredth class come other images of
            the same classes, under other labels.
        seed: Of the invented characters.
    """
    if cifar100 is not None:
        return _photographed(n, images, asked, cifar100)
    drawings, _ = draw_all(n, images + asked, seed=seed)
    parts = np.split(drawings, n)
    return [_cut(f"character-{k}", list(part), images) for k, part in enumerate(parts)]


def _photographed(n: int, images: int, asked: int, folder: Path) -> list[Taught]:
    each = images + asked
    data = read_split(folder, "train", per_class=-(-n // 100) * each)
    taught = []
    for k in range(n):
        again, target = divmod(k, len(data.classes))
        rows = np.flatnonzero(data.targets == target)[again * each : (again + 1) * each]
        if len(rows) < each:
            raise ValueError(f"{data.classes[target]} has too few images for {n} classes.")
        label = data.classes[target] if not again else f"{data.classes[target]} {again + 1}"
        taught.append(_cut(label, [data.images[row] for row in rows], images))
    return taught


def _cut(label: str, pictures: Sequence[NDArray[np.uint8]], images: int) -> Taught:
    files = [_as_png(pixels) for pixels in pictures]
    return Taught(label, files[:images], files[images:])


def _as_png(pixels: NDArray[np.uint8]) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).convert("RGB").save(file, "PNG")
    return file.getvalue()


def pixels_of(file: bytes) -> NDArray[np.uint8]:
    """Return the pixels of a file, `(H, W, 3)`."""
    return np.asarray(Image.open(BytesIO(file)))
