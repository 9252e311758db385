"""scikit-learn's handwritten digits as a stream of tasks of two digits.

1,797 real images of 8 x 8 pixels (UCI optical recognition of handwritten digits, the test part),
which come with the package. A fixed seed splits every class into three quarters to learn from and
a quarter that is only predicted.
"""

import importlib
import io
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from service.client import LabelledImage

CLASSES_PER_TASK = 2
EVAL_FRACTION = 0.25
SEED = 0
INK = 16
"""The grey level of full ink."""


class DigitsMissingError(Exception):
    """The package that brings the images is not installed."""


@dataclass(frozen=True)
class Digit:
    """One handwritten digit: grey levels from 0 (paper) to 16 (ink), `(8, 8)`."""

    pixels: Any
    label: str
    is_held_out: bool

    def as_image(self) -> LabelledImage:
        """Return it as a PNG with its label, white ink on black as the data set has it."""
        grey = np.minimum(255, np.asarray(self.pixels) * 16).astype(np.uint8)
        data = io.BytesIO()
        Image.fromarray(grey).save(data, format="PNG")
        return LabelledImage(data.getvalue(), self.label, "eval" if self.is_held_out else "train")


def package() -> ModuleType:
    """Return the data sets that come with scikit-learn.

    Raises:
        DigitsMissingError: If it is not installed.
    """
    try:
        # An optional extra and slow to load, so no other command loads it.
        return importlib.import_module("sklearn.datasets")
    except ImportError as error:
        raise DigitsMissingError(
            "The demo's images come with scikit-learn: pip install 'filopodia[demo]'."
        ) from error


def digit_tasks() -> list[list[Digit]]:
    """Return the digits 0-1, 2-3, 4-5, 6-7, 8-9: one list a task, the same in every run.

    Raises:
        DigitsMissingError: If scikit-learn is not installed.
    """
    data = package().load_digits()
    rng = np.random.default_rng(SEED)
    tasks: list[list[Digit]] = []
    for first in range(0, 10, CLASSES_PER_TASK):
        digits = []
        for target in range(first, first + CLASSES_PER_TASK):
            rows = rng.permutation(np.flatnonzero(data.target == target))
            n_eval = round(EVAL_FRACTION * len(rows))
            digits += [
                Digit(data.images[row], str(target), is_held_out=i < n_eval)
                for i, row in enumerate(rows)
            ]
        tasks.append(digits)
    return tasks
