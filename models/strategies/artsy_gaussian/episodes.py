"""The episodes of Gaussian records, replayed into statistics of all classes."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from models.episodes import Episode, carried
from models.errors import CheckpointError
from models.statistics import ClassGaussians, ClassRecords, Drift


def replay(episodes: Sequence[Episode[ClassRecords]], width: int) -> ClassGaussians:
    """Return the statistics of all classes where their features are after the last episode.

    Raises:
        CheckpointError: If an episode that has something to move lacks its drift.
    """
    statistics = ClassGaussians.empty(width)
    for episode, drift in carried(episodes):
        if episode.records is not None:
            n_classes = max(len(statistics.counts), int(episode.classes.max()) + 1)
            statistics.merge(episode.records, episode.classes, n_classes, drift)
    return statistics


def load_episode(
    state: Mapping[str, Tensor], index: int, classes: Tensor | None
) -> Episode[ClassRecords]:
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
