"""Pictures to try the service with: fruit, drawn with light, shadow and noise, so that no two are alike.

Nothing is downloaded and nobody else's. A shape is a signed distance field, bulged to a height, and lit from one side.

Shapes: S side in pixels; all fields are `(S, S)`, over x to the right and y downwards, both in -1.5..1.5.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

SIZE = 160
QUALITY = 88
Field = NDArray[np.float64]
Shape = Callable[[Field, Field], Field]


def _disc(x: Field, y: Field, radius: float = 0.8) -> Field:
    return np.hypot(x, y) - radius


def _apple(x: Field, y: Field) -> Field:
    dimple = 0.3 * np.exp(-((x / 0.28) ** 2) - ((y + 0.85) / 0.3) ** 2)
    return np.asarray(np.hypot(x * (1 + 0.12 * y), 1.05 * y) - 0.82 + dimple)


def _banana(x: Field, y: Field) -> Field:
    angle = np.arctan2(y + 0.75, x)
    along = np.abs(angle - np.pi / 2) / 1.0
    thickness = 0.36 * np.sqrt(np.clip(1 - along**4, 0, 1)) - 0.06
    return np.asarray(np.abs(np.hypot(x, y + 0.75) - 1.0) - thickness)


def _pear(x: Field, y: Field) -> Field:
    low, high = np.hypot(x, y - 0.3) - 0.66, np.hypot(x, y + 0.6) - 0.32
    near = np.clip(0.5 + 0.5 * (high - low) / 0.5, 0, 1)  # a smooth union of two discs
    return np.asarray(high * (1 - near) + low * near - 0.5 * near * (1 - near))


def _plum(x: Field, y: Field) -> Field:
    return np.asarray(np.hypot(x * 1.25, y * 0.95) - 0.68)


def _leaf(x: Field, y: Field) -> Field:
    side = np.hypot(np.abs(x) + 0.75, y) - 1.18 + 0.025 * np.sin(26 * y)
    return np.asarray(side + 0.03 * (np.abs(x) < 0.025))


@dataclass(frozen=True)
class Fruit:
    """How one kind looks."""

    shape: Shape
    colours: tuple[tuple[int, int, int], tuple[int, int, int]]
    """From one side to the other, RGB; each picture mixes them otherwise."""
    pores: float = 0.0
    """How rough the skin is."""
    gloss: float = 0.5
    stem: tuple[float, float] | None = None
    """Where its stem begins, at the top."""


FRUIT = {
    "apple": Fruit(_apple, ((196, 30, 38), (150, 170, 60)), gloss=0.7, stem=(0.0, -0.62)),
    "banana": Fruit(_banana, ((240, 205, 60), (222, 180, 40)), gloss=0.2),
    "orange": Fruit(_disc, ((240, 140, 20), (232, 118, 12)), pores=0.5, gloss=0.4),
    "pear": Fruit(_pear, ((180, 195, 70), (205, 190, 80)), pores=0.15, gloss=0.3, stem=(0.0, -0.9)),
    "plum": Fruit(_plum, ((88, 42, 110), (58, 40, 96)), gloss=0.35),
    "leaf": Fruit(_leaf, ((50, 120, 48), (84, 150, 60)), pores=0.1, gloss=0.1),
}


def draw(kind: str, seed: int) -> bytes:
    """Return a picture as JPEG: the same bytes for the same kind and seed, with one release of Pillow.

    Args:
        kind: One of `FRUIT`.
        seed: Every number gives another picture.
    """
    fruit = FRUIT[kind]
    rng = np.random.default_rng([sorted(FRUIT).index(kind), seed])
    pixels = _table(rng)
    x, y = _placed(rng)
    distance = fruit.shape(x, y)
    light = np.array([rng.uniform(-0.7, 0.7), rng.uniform(-0.9, -0.3), 1.0])
    light /= np.linalg.norm(light)
    pixels = _with_shadow(pixels, distance, light)
    if fruit.stem is not None:
        on_stem = (np.abs(x - fruit.stem[0] - 0.1 * (y - fruit.stem[1])) < 0.05) & (
            (y < fruit.stem[1]) & (y > fruit.stem[1] - 0.35)
        )
        pixels[on_stem] = (88, 62, 36)
    skin = _skin(rng, fruit, x, y)
    lit = _lit(distance, light, fruit, skin)
    cover = np.clip(0.5 - distance / 0.03, 0, 1)[..., None]
    return _photographed(rng, pixels * (1 - cover) + lit * cover)


def _placed(rng: np.random.Generator) -> tuple[Field, Field]:
    """Return the coordinates of the shape: turned, moved, nearer or farther."""
    axis = np.linspace(-1.5, 1.5, SIZE)
    x, y = np.meshgrid(axis - rng.uniform(-0.25, 0.25), axis - rng.uniform(-0.25, 0.25))
    turn, zoom = rng.normal(0, 0.45), rng.uniform(0.85, 1.25)
    cos, sin = np.cos(turn) * zoom, np.sin(turn) * zoom
    return cos * x + sin * y, cos * y - sin * x


def _table(rng: np.random.Generator) -> Field:
    """Return what it lies on, `(S, S, 3)`: wood, cloth or stone of some colour, darker towards one side."""
    colour = np.array([(170, 132, 92), (206, 202, 194), (120, 126, 134), (92, 110, 96)])[
        rng.integers(4)
    ] + rng.normal(0, 12, 3)
    grain = _noise(rng, (int(rng.integers(4, 10)), int(rng.integers(4, 40))))
    fall = np.linspace(rng.uniform(0.75, 1.1), rng.uniform(0.75, 1.1), SIZE)[:, None]
    return np.asarray(colour * ((1 + 0.12 * grain) * fall)[..., None])


def _skin(rng: np.random.Generator, fruit: Fruit, x: Field, y: Field) -> Field:
    """Return the colour of the skin, `(S, S, 3)`."""
    first, second = (np.array(colour, dtype=float) for colour in fruit.colours)
    way = rng.uniform(-np.pi, np.pi)
    mix = np.clip(
        rng.uniform(0.1, 0.4)
        + 0.4 * (np.cos(way) * x + np.sin(way) * y)
        + 0.15 * _noise(rng, (9, 9)),
        0,
        1,
    )[..., None]
    skin = first * (1 - mix) + second * mix
    return np.asarray(skin * (1 + 0.12 * fruit.pores * _noise(rng, (70, 70)))[..., None])


def _lit(distance: Field, light: Field, fruit: Fruit, skin: Field) -> Field:
    """Return the shape under the light, `(S, S, 3)`: matt shading and a highlight."""
    inside = np.clip(-distance / 0.75, 0, 1)
    height = np.sqrt(1 - (1 - inside) ** 2)
    dy, dx = np.gradient(height, 3 / SIZE)
    normal = np.stack([-dx, -dy, np.full_like(dx, 1.3)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    facing = np.clip(normal @ light, 0, 1)
    shine = fruit.gloss * 190 * facing[..., None] ** 40
    return np.asarray(skin * (0.35 + 0.75 * facing[..., None]) + shine)


def _with_shadow(pixels: Field, distance: Field, light: Field) -> Field:
    away = [round(float(-light[i] * 0.2 * SIZE / 3)) for i in (1, 0)]
    shape = np.roll(distance < 0, away, axis=(0, 1))
    image = Image.fromarray((255 * shape).astype(np.uint8)).filter(ImageFilter.GaussianBlur(5))
    return np.asarray(pixels * (1 - 0.55 * np.asarray(image, dtype=float) / 255)[..., None])


def _photographed(rng: np.random.Generator, pixels: Field) -> bytes:
    """Return what a camera makes of it: colour cast, exposure, softness, noise, JPEG."""
    cast = rng.uniform(0.75, 1.2) * (1 + rng.normal(0, 0.04, 3))
    noisy = pixels * cast + rng.normal(0, rng.uniform(2, 7), pixels.shape)
    image = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    file = io.BytesIO()
    image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.9))).save(
        file, format="JPEG", quality=QUALITY
    )
    return file.getvalue()


def _noise(rng: np.random.Generator, cells: tuple[int, int]) -> Field:
    """Return soft noise of about unit spread, of so many patches from top to bottom and from left to right."""
    coarse = Image.fromarray(rng.normal(0, 1, cells).astype(np.float32))
    return np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC), dtype=float)
