"""Episodes: what each task showed when it was learned, and how its consolidation moved the features of older ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.errors import CheckpointError
from models.ledger import Removal
from models.statistics import ClassGaussians, ClassRecords, Drift


@dataclass(frozen=True)
class Episode:
    """What the consolidation of one task left."""

    index: int
    drift: Drift | None
    """How it moved the features of earlier tasks. None where there are none to move."""
    classes: Tensor
    """Indexes of its classes, int64 `(C,)`. Empty once the task is unlearned: the move stays."""
    records: ClassRecords | None
    """Of its images under the functional adapter of that time, in the order of `classes`. None once unlearned."""


def replay(episodes: Sequence[Episode], width: int) -> ClassGaussians:
    """Return the statistics of all classes where their features are after the last episode.

    Each episode's records are carried once, by all the moves after it as one: the cost is linear in tasks and classes.

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
        elif not is_first:
            raise CheckpointError(f"The drift of task {episode.index} is missing.")
    statistics = ClassGaussians.empty(width)
    for episode, drift in zip(episodes, reversed(since), strict=True):
        if episode.records is not None:
            n_classes = max(len(statistics.counts), int(episode.classes.max()) + 1)
            statistics.merge(episode.records, episode.classes, n_classes, drift)
    return statistics


def trimmed_episode(episode: Episode, removal: Removal) -> Episode:
    """Number an episode's classes anew, and drop the records that go."""
    if episode.records is None or episode.index in removal.tasks:
        return replace(episode, classes=episode.classes[:0], records=None)
    stays, classes = removal.trim(episode.classes)
    records = episode.records if stays.all() else episode.records.select(stays)
    return replace(episode, classes=classes, records=records)


def without_idle_drifts(episodes: Sequence[Episode]) -> list[Episode]:
    """Drop the drifts of unlearned episodes that have no older record to move any more."""
    kept, is_idle = [], True
    for episode in episodes:
        is_idle = is_idle and episode.records is None
        kept.append(replace(episode, drift=None) if is_idle else episode)
    return kept


def load_episode(state: Mapping[str, Tensor], index: int, classes: Tensor | None) -> Episode:
    """Rebuild an episode: of a learned task with these classes, or of an unlearned one where they are None.

    Raises:
        CheckpointError: If a tensor is missing or has the wrong shape.
    """
    drift = Drift.from_state(state, f"tasks.{index}.drift.")
    if classes is None:
        return Episode(index, drift, torch.zeros(0, dtype=torch.int64), None)
    records = ClassRecords.from_state(state, f"tasks.{index}.records.")
    if classes.shape != records.counts.shape:
        raise CheckpointError(f"The classes of task {index} do not fit its records.")
    return Episode(index, drift, classes, records)
