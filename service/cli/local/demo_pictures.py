"""The demo's pictures: handwritten digits in paint on pieces of photographs, and what nobody taught it.

The digits and the two photographs (a flower, a temple) come with scikit-learn. Pieces of the same photographs without a
digit on them, and drawn fruit, are taught to nobody.

Shapes: S side in pixels.
"""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.text import Text

from service.cli.local.demo_digits import INK, digit_tasks, package
from service.cli.local.sample_pictures import FRUIT, draw
from service.client import LabelledImage

Pixels = NDArray[np.uint8]
Levels = NDArray[np.float64]

SEED = 1
SIZE = 64
SIGN = 56
"""Side of what is painted, before it is turned, in pixels."""
TURN = 8.0
"""Spread of the angle by which it is turned, in degrees."""
PIECE = (60, 260)
"""Sides of the square that is cut out of a photograph, in pixels."""
HAZE = 0.5
"""How much of a photograph's contrast is left under the paint."""
CONTRAST = 90
"""By how much the paint is at least lighter or darker than the photograph, of 255."""
GRAIN = 4.0
"""Spread of the camera's noise, of 255."""
LIGHTNESS = np.array([0.299, 0.587, 0.114])
"""Of red, green and blue (ITU-R BT.601)."""
QUALITY = 92
N_PIECES, N_A_FRUIT = 40, 4
"""How many pictures of nothing but photograph, and of each fruit."""
SHADES = " ░▒▓█"
WIDTH, HEIGHT = 24, 12
"""Characters of a picture on a terminal."""


@dataclass(frozen=True)
class Picture:
    """One picture, `(S, S, 3)`."""

    pixels: Pixels
    label: str
    """Its class; of what nobody taught, what is on it, with its article."""
    is_held_out: bool = False

    def as_image(self) -> LabelledImage:
        """Return it as a JPEG with its label."""
        data = io.BytesIO()
        Image.fromarray(self.pixels).save(data, format="JPEG", quality=QUALITY)
        return LabelledImage(data.getvalue(), self.label, "eval" if self.is_held_out else "train")

    def drawn(self, console: Console) -> Text:
        """Draw it for a terminal, in colour if that has any."""
        return self.in_shades() if console.color_system is None else self.in_colour()

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


def taught_pictures() -> list[list[Picture]]:
    """Return the digits 0-1, 2-3, 4-5, 6-7, 8-9 on photographs: one list a task, the same in every run.

    Raises:
        DigitsMissingError: If scikit-learn is not installed.
    """
    painter = _Painter(SEED)
    return [
        [
            Picture(painter.paint(np.asarray(digit.pixels) / INK), digit.label, digit.is_held_out)
            for digit in digits
        ]
        for digits in digit_tasks()
    ]


def untaught_pictures() -> list[Picture]:
    """Return what is asked about and taught to nobody, the same in every run.

    Raises:
        DigitsMissingError: If scikit-learn is not installed.
    """
    painter = _Painter(SEED + 1)
    pieces = [Picture(painter.paint(np.zeros((8, 8))), "a photo") for _ in range(N_PIECES)]
    return pieces + [_fruit(kind, seed) for kind in FRUIT for seed in range(N_A_FRUIT)]


class _Painter:
    """Paints signs on pieces of the photographs, each in a colour of its own.

    Args:
        seed: Everything random derives from it.
    """

    def __init__(self, seed: int) -> None:
        self._photos: list[Pixels] = package().load_sample_images().images
        self._rng = np.random.default_rng(seed)

    def paint(self, sign: Levels) -> Pixels:
        """Return a picture, `(S, S, 3)`.

        Args:
            sign: How much ink is where, in 0..1, `(8, 8)`.
        """
        photo = self._piece()
        mean = photo.mean(axis=(0, 1))
        photo = mean + HAZE * (photo - mean)
        cover = np.clip(2 * self._placed(sign) - 0.5, 0, 1)[..., None]
        pixels = photo * (1 - cover) + self._paint_on(mean) * cover
        noisy = pixels + self._rng.normal(0, GRAIN, pixels.shape)
        return np.asarray(np.clip(noisy, 0, 255), dtype=np.uint8)

    def _piece(self) -> Levels:
        """Return a square piece of a photograph, `(S, S, 3)`."""
        photo = self._photos[self._rng.integers(len(self._photos))]
        side = int(self._rng.integers(*PIECE))
        top, left = (int(self._rng.integers(length - side)) for length in photo.shape[:2])
        piece = Image.fromarray(photo[top : top + side, left : left + side])
        return np.asarray(piece.resize((SIZE, SIZE), Image.Resampling.BICUBIC), dtype=float)

    def _placed(self, sign: Levels) -> Levels:
        """Return the sign in its size, turned and moved, `(S, S)`."""
        large = Image.fromarray((255 * sign).astype(np.uint8)).resize(
            (SIGN, SIGN), Image.Resampling.BICUBIC
        )
        turned = large.rotate(float(self._rng.normal(0, TURN)), Image.Resampling.BICUBIC)
        top, left = self._rng.integers(0, SIZE - SIGN + 1, 2)
        placed = np.zeros((SIZE, SIZE))
        placed[top : top + SIGN, left : left + SIGN] = np.asarray(turned) / 255
        return placed

    def _paint_on(self, mean: Levels) -> Levels:
        """Draw a colour that is told apart from a photograph of that mean colour, `(3,)`."""
        while True:
            colour = self._rng.uniform(0, 255, 3)
            if abs((colour - mean) @ LIGHTNESS) >= CONTRAST:
                return colour


def _fruit(kind: str, seed: int) -> Picture:
    image = Image.open(io.BytesIO(draw(kind, seed))).resize((SIZE, SIZE))
    article = "an" if kind[0] in "aeiou" else "a"
    return Picture(np.asarray(image), f"{article} {kind}")


def _rgb(colour: Pixels) -> str:
    return ",".join(map(str, colour.tolist()))
