"""Pictures that are large to decode and small to send, and what a process has spent on them."""

import os
from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image

from tests.attacks.strangers import cpu_s
from tests.waiting import wait_until

SIDE = 5000
"""25 megapixels, a usual size of what was scanned or drawn."""


@cache
def large(format: str, side: int = SIDE, mode: str = "RGB") -> bytes:
    """Return a square picture of two colours without loss, some tens of bytes to some kilobytes."""
    image = Image.new(mode, (side, side), _colour(mode, 200))
    image.paste(_colour(mode, 30), (0, 0, side // 2, side))
    buffer = BytesIO()
    options = {"WEBP": {"lossless": True, "method": 0}, "PNG": {"compress_level": 9}}
    image.save(buffer, format, **options.get(format, {}))
    return buffer.getvalue()


def form(data: bytes, count: int) -> list[tuple[str, tuple[str, bytes]]]:
    """Return the files of a form with one picture several times."""
    return [("images", (f"{index}", data)) for index in range(count)]


def photo(width: int, height: int) -> bytes:
    """Return a JPEG with structure everywhere, as a camera makes it."""
    coarse = np.random.default_rng(3).integers(0, 255, (height // 200, width // 200, 3), np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def wait_idle(pid: int, beside: float, spell_s: float = 0.5) -> None:
    """Wait until a process uses hardly more processor time than it did, in cores, before it had something to do."""
    last: list[tuple[float, float]] = []

    def is_idle() -> bool:
        now = os.times().elapsed
        if not last or now - last[-1][0] >= spell_s:
            last.append((now, cpu_s(pid)))
        share = 1.5 * beside + 0.2
        return len(last) > 1 and last[-1][1] - last[-2][1] < share * (last[-1][0] - last[-2][0])

    wait_until(is_idle)


def _colour(mode: str, value: int) -> int | tuple[int, ...]:
    channels = len(Image.new(mode, (1, 1)).getbands())
    return value if channels == 1 else (value,) * channels
