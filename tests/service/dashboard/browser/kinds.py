"""Drawn pictures: each kind has its own shape and colours, each drawing its own place, size, turn and light."""

import io
import math
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 128
KINDS = tuple(
    f"{colour} {shape}"
    for shape in ("star", "ring", "house", "tree", "fish", "cross", "stairs", "drop")
    for colour in ("red", "blue", "lime")
)
"""Twenty-four."""
_COLOURS = {
    "red": ((198, 40, 40), (250, 232, 214)),
    "blue": ((30, 80, 190), (222, 236, 200)),
    "lime": ((120, 175, 30), (66, 52, 84)),
}
_OUTLINES = {
    "house": [(-0.7, 0.8), (-0.7, -0.1), (0, -0.9), (0.7, -0.1), (0.7, 0.8)],
    "tree": [(-0.15, 0.9), (-0.15, 0.5), (-0.8, 0.5), (0, -0.9), (0.8, 0.5), (0.15, 0.5), (0.15, 0.9)],
    "fish": [(-0.9, -0.5), (-0.3, 0), (0.2, -0.5), (0.9, 0), (0.2, 0.5), (-0.3, 0), (-0.9, 0.5)],
    "cross": [(-0.3, -0.9), (0.3, -0.9), (0.3, -0.3), (0.9, -0.3), (0.9, 0.3), (0.3, 0.3), (0.3, 0.9),
              (-0.3, 0.9), (-0.3, 0.3), (-0.9, 0.3), (-0.9, -0.3), (-0.3, -0.3)],
    "stairs": [(-0.9, 0.9), (-0.9, 0.3), (-0.3, 0.3), (-0.3, -0.3), (0.3, -0.3), (0.3, -0.9), (0.9, -0.9),
               (0.9, 0.9)],
    "star": [
        (r * math.sin(i * math.pi / 5), -r * math.cos(i * math.pi / 5))
        for i in range(10)
        for r in [0.95 if i % 2 == 0 else 0.38]
    ],
    "drop": [(0, -0.95)]
    + [(0.62 * math.sin(a), 0.3 - 0.6 * math.cos(a)) for a in [0.9 + 0.25 * i for i in range(19)]],
}  # fmt: skip


def draw(kind: str, index: int) -> bytes:
    """Return a drawing of a kind, as PNG; the same again for the same index."""
    colour, shape = kind.split()
    random = Random(f"{kind} {index}")
    ink, ground = _COLOURS[colour]
    image = Image.new("RGB", (SIDE, SIDE), ground)
    pen = ImageDraw.Draw(image)
    turn, size = random.uniform(-0.12, 0.12), random.uniform(40, 50)
    x, y = (SIDE / 2 + random.uniform(-8, 8) for _ in range(2))
    if shape == "ring":
        pen.ellipse((x - size, y - size, x + size, y + size), outline=ink, width=int(size / 2.4))
    else:
        pen.polygon(
            [
                (
                    x + size * (a * math.cos(turn) - b * math.sin(turn)),
                    y + size * (a * math.sin(turn) + b * math.cos(turn)),
                )
                for a, b in _OUTLINES[shape]
            ],
            fill=ink,
        )
    light = random.uniform(0.88, 1.08)
    noise = np.random.default_rng(random.getrandbits(32)).normal(0, 8, (SIDE, SIDE, 3))
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(random.uniform(0, 0.7)))) * light
    png = io.BytesIO()
    Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8)).save(png, format="PNG")
    return png.getvalue()
