"""Pictures that the demo asks about and teaches nobody: pieces of photographs, and drawn fruit.

The two photographs (a flower, a temple) come with scikit-learn.

Shapes: S side in pixels.
"""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.text import Text

from service.cli.local.demo_digits import SHADES, package
from service.cli.local.sample_pictures import FRUIT, draw

Pixels = NDArray[np.uint8]

SEED = 0
SIZE = 96
N_PHOTOS, N_A_KIND = 20, 4
"""Pieces of photographs, and drawings of each fruit."""
PIECE = (100, 300)
"""Sides of the square that is cut out of a photograph, in pixels."""
WIDTH, HEIGHT = 24, 12
"""Characters of a picture on a terminal."""


@dataclass(frozen=True)
class Untaught:
    """One picture, `(S, S, 3)`, and what is on it, with its article."""

    pixels: Pixels
    label: str

    def as_png(self) -> bytes:
        """Return it as a PNG."""
        data = io.BytesIO()
        Image.fromarray(self.pixels).save(data, format="PNG")
        return data.getvalue()

    def in_shades(self) -> Text:
        """Draw it with block characters, its darkest part empty and its lightest full."""
        small = Image.fromarray(self.pixels).convert("L").resize((WIDTH, HEIGHT))
        grey = np.asarray(small, dtype=float)
        levels = (grey - grey.min()) / max(1.0, np.ptp(grey)) * (len(SHADES) - 1)
        rows = ("".join(SHADES[round(level)] for level in row) for row in levels)
        return Text("\n".join(rows), no_wrap=True)

    def in_colour(self) -> Text:
        """Draw it with half blocks, two colours a character."""
        small = np.asarray(Image.fromarray(self.pixels).resize((WIDTH, 2 * HEIGHT)))
        drawn = Text(no_wrap=True)
        for y in range(HEIGHT):
            for upper, lower in zip(small[2 * y], small[2 * y + 1], strict=True):
                drawn.append("▀", f"rgb({_rgb(upper)}) on rgb({_rgb(lower)})")
            drawn.append("\n" if y < HEIGHT - 1 else "")
        return drawn


def untaught_pictures() -> list[Untaught]:
    """Return them all, the same in every run.

    Raises:
        DigitsMissingError: If scikit-learn is not installed.
    """
    photos = package().load_sample_images().images
    rng = np.random.default_rng(SEED)
    pieces = [Untaught(_piece(photos[i % len(photos)], rng), "a photo") for i in range(N_PHOTOS)]
    return pieces + [_drawn(kind, seed) for kind in FRUIT for seed in range(N_A_KIND)]


def _piece(photo: Pixels, rng: np.random.Generator) -> Pixels:
    """Return a square piece of a photograph, `(S, S, 3)`."""
    side = int(rng.integers(*PIECE))
    top, left = (int(rng.integers(length - side)) for length in photo.shape[:2])
    piece = Image.fromarray(photo[top : top + side, left : left + side])
    return np.asarray(piece.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def _drawn(kind: str, seed: int) -> Untaught:
    article = "an" if kind[0] in "aeiou" else "a"
    return Untaught(np.asarray(Image.open(io.BytesIO(draw(kind, seed)))), f"{article} {kind}")


def _rgb(colour: Pixels) -> str:
    return ",".join(map(str, colour.tolist()))
