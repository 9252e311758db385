"""How the learning core tells how far it is."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far the learning of a task is."""

    phase: str
    """`training` or `consolidating`."""
    fraction: float
    """Share of this phase that is done, in `[0, 1]`."""
    epoch: int | None = None
    epochs: int | None = None
    loss: float | None = None
    """Mean loss of the batches so far in this epoch."""


ProgressFn = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """Take a progress report and do nothing with it."""
