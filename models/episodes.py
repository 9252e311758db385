"""Episodes: what each task showed when it was learned, and how its consolidation moved the features of older ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, Self, TypeVar

from torch import Tensor

from models.errors import CheckpointError
from models.ledger import Removal
from models.statistics import Drift


class Records(Protocol):
    """What a task showed, class by class. Shape: C classes."""

    def select(self, stays: Tensor, /) -> Self:
        """Return the records of the classes that stay: bool `(C,)`."""


RecordsT = TypeVar("RecordsT", bound=Records)


@dataclass(frozen=True)
class Episode(Generic[RecordsT]):
    """What a task showed, a move of the features, or both."""

    index: int
    drift: Drift | None
    """How it moved the features of earlier tasks. None where there are none to move."""
    classes: Tensor
    """Indexes of its classes, int64 `(C,)`. Empty once the task is unlearned: the move stays."""
    records: RecordsT | None
    """Of its images under the functional adapter of that time, in the order of `classes`. None once unlearned."""
    moved: bool = True
    """Whether the functional adapter moved at all."""


def carried(
    episodes: Sequence[Episode[RecordsT]],
) -> Iterator[tuple[Episode[RecordsT], Drift | None]]:
    """Return each episode with how features moved after it, all moves as one: linear in tasks.

    Raises:
        CheckpointError: If an episode that has something to move lacks its drift.
    """
    since: list[Drift | None] = []
    drift: Drift | None = None
    for position, episode in reversed(list(enumerate(episodes))):
        since.append(drift)
        is_first = all(older.records is None for older in episodes[:position])
        if episode.drift is not None:
            drift = episode.drift.then(drift)
        elif episode.moved and not is_first:
            raise CheckpointError(f"The drift of task {episode.index} is missing.")
    return zip(episodes, reversed(since), strict=True)


def trimmed_episode(episode: Episode[RecordsT], removal: Removal) -> Episode[RecordsT]:
    """Number an episode's classes anew, and drop the records that go."""
    if episode.records is None or episode.index in removal.tasks:
        return replace(episode, classes=episode.classes[:0], records=None)
    stays, classes = removal.trim(episode.classes)
    records = episode.records if stays.all() else episode.records.select(stays)
    return replace(episode, classes=classes, records=records)


def without_idle_drifts(episodes: Sequence[Episode[RecordsT]]) -> list[Episode[RecordsT]]:
    """Drop the drifts of unlearned episodes that have no older record to move any more."""
    kept, is_idle = [], True
    for episode in episodes:
        is_idle = is_idle and episode.records is None
        kept.append(replace(episode, drift=None) if is_idle else episode)
    return kept
