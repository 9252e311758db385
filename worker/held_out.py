"""Measuring every task on its held-out images, by features that were kept of them where these are still the same.

The features lie in the blob store, one file a task, and the task's row names it. Where it is missing, or made of other
features or images, the images are loaded and looked at again, and a new file takes its place when the version is
published.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import structlog
from torch import Tensor

from models.errors import CheckpointError
from models.evaluation import AT_ONCE, Asked, TaskAccuracy, evaluate, evaluate_features
from models.held_out import HeldOutFeatures
from models.strategies.base import Strategy
from models.strategies.values import Task
from registry.blobs.store import BlobStore
from registry.errors import BlobDamagedError, BlobMissingError
from registry.tables import SampleRow
from worker.samples import load_images

log = structlog.get_logger()

READ_AT_A_TIME = 8
"""Files that are read side by side: a remote store answers each only after a while."""


@dataclass(frozen=True)
class Measured:
    """What held-out images say of a learner."""

    cells: list[TaskAccuracy] = field(default_factory=list)
    """Of each task, in order."""
    features: dict[int, bytes] = field(default_factory=dict)
    """Files to keep from now on, by the index of their task: those that are not kept yet."""


def measure_held_out(
    strategy: Strategy[Any],
    held_out: Mapping[int, list[SampleRow]],
    kept: Mapping[int, str],
    task: Task | None,
    blobs: BlobStore,
    on_fraction: Callable[[float], None],
) -> Measured:
    """Measure tasks. The images of one task are in memory at a time, and of those by features only those it asks for.

    Args:
        strategy: Learned.
        held_out: Rows of the held-out images by task.
        kept: Blobs of kept features by task.
        task: The one at hand, if any, with its images.
        blobs: Where images and features lie.
        on_fraction: Called with the share done before each task.

    Raises:
        PermanentTaskError: `data-unreadable`, if an image that is needed is missing or damaged.
    """
    measuring = _Measuring(strategy, task, blobs)
    known = _read(kept, blobs) if strategy.reads_features else {}
    for i, (index, rows) in enumerate(held_out.items()):
        on_fraction(i / len(held_out))
        measuring.add(index, rows, known.get(index))
    return measuring.end()


class _Measuring:
    """Tasks measured so far, and those that wait to be asked about in one go."""

    def __init__(self, strategy: Strategy[Any], task: Task | None, blobs: BlobStore) -> None:
        self._strategy = strategy
        self._task = task
        self._blobs = blobs
        self._waiting: list[Asked] = []
        self._measured = Measured()
        self._fingerprint = strategy.fingerprint_of_features() if strategy.reads_features else ""

    def add(self, index: int, rows: list[SampleRow], known: HeldOutFeatures | None) -> None:
        labels = tuple(row.label for row in rows)
        if not self._strategy.reads_features:
            images = self._images(index, rows)
            self._measured.cells.append(evaluate(self._strategy, images, labels, task_index=index))
            return
        names = tuple(row.blob_sha256 for row in rows)
        features = None if known is None else known.of(self._fingerprint, names)
        if features is None:
            features = self._features(index, rows, labels)
        if known is None or (self._fingerprint, names) != (known.fingerprint, known.images):
            again = HeldOutFeatures(self._fingerprint, names, features)
            self._measured.features[index] = again.pack()

        def images_of(chosen: Tensor) -> Tensor:
            return self._images(index, [rows[row] for row in chosen.tolist()])

        self._waiting.append(Asked(index, labels, features, images_of))
        if sum(len(one.labels) for one in self._waiting) >= AT_ONCE:
            self._ask()

    def end(self) -> Measured:
        self._ask()
        return self._measured

    def _ask(self) -> None:
        if self._waiting:
            self._measured.cells.extend(evaluate_features(self._strategy, self._waiting))
            self._waiting.clear()

    def _features(self, index: int, rows: Sequence[SampleRow], labels: tuple[str, ...]) -> Tensor:
        """Return features of a task's images; of those of the task at hand they may be there."""
        task = self._task_at_hand(index, labels)
        seen = None if task is None else task.held_out_features(self._fingerprint)
        return self._strategy.features_of(self._images(index, rows)) if seen is None else seen

    def _images(self, index: int, rows: Sequence[SampleRow]) -> Tensor:
        """Return images of a task; those of the task at hand are there if all of them are asked for."""
        task = self._task_at_hand(index, tuple(row.label for row in rows))
        if task is not None and task.held_out_images is not None:
            return task.held_out_images
        return load_images(rows, self._blobs, self._strategy.backbone, lambda _: None)

    def _task_at_hand(self, index: int, labels: tuple[str, ...]) -> Task | None:
        """Return the task at hand, if it is this one and all its held-out images are asked for."""
        task = self._task
        is_at_hand = task is not None and (task.index, task.held_out_labels) == (index, labels)
        return task if is_at_hand else None


def _read(kept: Mapping[int, str], blobs: BlobStore) -> dict[int, HeldOutFeatures]:
    """Read what is kept; what is damaged or missing is made again."""

    def read(sha256: str) -> HeldOutFeatures | None:
        try:
            return HeldOutFeatures.unpack(blobs.get(sha256))
        except (BlobMissingError, BlobDamagedError, CheckpointError) as error:
            log.warning("kept_features_unreadable", reason=str(error))
            return None

    with ThreadPoolExecutor(READ_AT_A_TIME) as pool:
        found = dict(zip(kept, pool.map(read, kept.values()), strict=True))
    return {index: features for index, features in found.items() if features is not None}
