"""Tiny images for uploads and predictions: made from a seed, and no two alike."""

import io

import numpy as np
from PIL import Image

SIDE = 24


def picture(*seed: int) -> bytes:
    """Return a PNG: a coloured stripe pattern that the first two numbers choose, under noise from all of them."""
    look = np.random.default_rng(seed[:2])
    noise = np.random.default_rng(seed)
    angle, width = look.uniform(0, np.pi), look.uniform(3, 9)
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / width)[..., None]
    pixels = 128 + wave * look.uniform(30, 110, size=3) + noise.normal(0, 12, size=(SIDE, SIDE, 3))
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()
