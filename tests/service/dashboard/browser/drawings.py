"""Photos for tests that teach in a browser: drawn, and never the same twice."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE = 96


def draw(folder: Path, label: str, numbers: Iterable[int]) -> list[Path]:
    """Draw pictures of a class into a folder of its name, and return where they lie.

    Args:
        folder: Where the folder of the class is, or will be.
        label: `stripes` are stripes; anything else is a ball.
        numbers: Of the pictures; each is another one.
    """
    place = folder / label
    place.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in numbers:
        random = np.random.default_rng(number)
        image = Image.new("RGB", (SIDE, SIDE), tuple(map(int, random.integers(200, 255, 3))))
        drawing = ImageDraw.Draw(image)
        colour = tuple(map(int, random.integers(0, 120, 3)))
        at = int(random.integers(0, 16))
        if label == "stripes":
            for left in range(at, SIDE, 20):
                drawing.rectangle((left, 0, left + 9, SIDE), fill=colour)
        else:
            drawing.ellipse((at, at, at + 72, at + 72), fill=colour)
        path = place / f"{label[:20].replace('/', '_')}-{number}.png"
        image.save(path)
        paths.append(path)
    return paths
