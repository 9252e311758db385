"""Training images that a strategy keeps, for the methods that cannot do without."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from models.ledger import Removal
from models.state import StateReader


class KeptImages:
    """Images and targets of the tasks so far.

    A task's images are written once, so versions share their file. Targets are not part of it: unlearning another task
    may number the classes anew.
    """

    def __init__(self) -> None:
        self._tasks: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        """Return how many images are kept."""
        return sum(len(targets) for _, targets in self._tasks.values())

    def add(self, index: int, images: Tensor, targets: Tensor) -> None:
        """Keep copies of what task `index` brought: uint8 images `(N, 3, H, W)` and int64 targets `(N,)`."""
        self._tasks[index] = (images.detach().cpu().clone(), targets.detach().cpu().clone())

    def all(self) -> tuple[Tensor, Tensor]:
        """Return every image `(N, 3, H, W)` and target `(N,)`, in the order of the tasks. At least one must be kept."""
        images, targets = zip(*self._tasks.values(), strict=True)
        return torch.cat(images), torch.cat(targets)

    def drop(self, removal: Removal) -> None:
        """Take out the images of the tasks and classes that go."""
        for index in removal.tasks:
            self._tasks.pop(index, None)
        for index, (images, targets) in self._tasks.items():
            stays, targets_left = removal.trim(targets)
            self._tasks[index] = (images if stays.all() else images[stays], targets_left)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors, each task's images under its own prefix."""
        state: dict[str, Tensor] = {}
        for index, (images, targets) in self._tasks.items():
            state[f"tasks.{index}.images"] = images
            state[f"targets.{index}"] = targets
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], task_indexes: Sequence[int]) -> "KeptImages":
        """Rebuild from what `state_dict` returned.

        Raises:
            CheckpointError: If a task's images are missing, or do not fit their targets.
        """
        kept = cls()
        for index in task_indexes:
            reader = StateReader(state, what=f"the images of task {index}")
            images = reader.tensor(f"tasks.{index}.images", (None,) * 4, torch.uint8)
            targets = reader.tensor(f"targets.{index}", (len(images),), torch.int64)
            kept.add(index, images, targets)
        return kept
