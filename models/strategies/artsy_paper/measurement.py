"""What one task leaves of its images for the paper's method: class means in every branch, and what its synapse read."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from models.errors import CheckpointError
from models.head import cosine_scores
from models.ledger import Removal
from models.state import StateReader
from models.strategies.artsy_paper.gates import Replay


@dataclass(frozen=True)
class Measurement:
    """What one task's images showed in each branch that was there, its own the last. Shapes: C classes of the task."""

    classes: Tensor
    """Their indexes, int64 `(C,)`."""
    counts: Tensor
    """Images a class, `(C,)`."""
    means: Tensor
    """Mean feature of each class in each branch, `(T + 1, C, D)`."""
    replay: Replay | None = None
    """What its synapse read, where that is ever drawn again."""

    @classmethod
    def of(cls, branches: Tensor, targets: Tensor, replay: Replay | None) -> "Measurement":
        """Average features class by class.

        Args:
            branches: Features of a task's images in every branch, `(T + 1, N, D)`.
            targets: Class of each image, `(N,)`.
            replay: Of the same classes.
        """
        classes, counts = targets.unique(return_counts=True)
        means = torch.stack([branches[:, targets == k].mean(dim=1) for k in classes], dim=1)
        return cls(classes, counts.float(), means, replay)

    def trimmed(self, removal: Removal, branches: Tensor) -> "Measurement":
        """Number the classes anew, and drop the classes and the branches that go.

        Args:
            removal: What goes. Something of this task stays.
            branches: Which branches stay, bool `(T + 1,)`, those of later tasks included.
        """
        stays, classes = removal.trim(self.classes)
        means = self.means[branches[: len(self.means)]][:, stays]
        replay = self.replay and Replay(self.replay.records.select(stays), self.replay.seed)
        return Measurement(classes, self.counts[stays], means, replay)

    def state_dict(self, index: int) -> dict[str, Tensor]:
        """Return the tensors of task `index` under prefixed keys."""
        state = {
            # Not below the task's prefix: unlearning another task may number the classes anew.
            f"classes.{index}": self.classes,
            f"tasks.{index}.counts": self.counts,
            f"tasks.{index}.means": self.means,
        }
        return state if self.replay is None else state | self.replay.state_dict(index)

    @classmethod
    def from_state(
        cls, state: Mapping[str, Tensor], index: int, *, shape: tuple[int, int], has_replay: bool
    ) -> "Measurement":
        """Rebuild from what `state_dict` returned.

        Args:
            state: Of the whole strategy.
            index: Of the task.
            shape: Branches and feature width, `(T + 1, D)`.
            has_replay: Whether synapses of this strategy are drawn for.

        Raises:
            CheckpointError: If a tensor is missing or the shapes do not fit together.
        """
        reader = StateReader(state, what=f"the class means of task {index}")
        classes = reader.tensor(f"classes.{index}", (None,), torch.int64)
        counts = reader.tensor(f"tasks.{index}.counts", (len(classes),))
        means = reader.tensor(f"tasks.{index}.means", (shape[0], len(classes), shape[1]))
        replay = Replay.from_state(state, index) if has_replay else None
        if replay is not None and replay.records.means.shape != means.shape[1:]:
            raise CheckpointError(f"The replay of task {index} does not fit its classes.")
        return cls(classes, counts, means, replay)


def extend_prototypes(
    prototypes: Tensor, counts: Tensor, measurement: Measurement
) -> tuple[Tensor, Tensor]:
    """Add a branch for every class and a row for every new one; complete the former classes in the new branch.

    Args:
        prototypes: Mean feature of every class in every branch, `(T, K, D)`.
        counts: Images a class, `(K,)`.
        measurement: Of the newest task.

    Returns:
        Both with the task's classes and branch.
    """
    mine, means = measurement.classes, measurement.means
    known = len(counts)
    n_classes = max(known, int(mine.max()) + 1)
    T, _, D = means.shape
    extended = torch.zeros(T, n_classes, D)
    extended[: T - 1, :known] = prototypes
    counts = torch.cat([counts, torch.zeros(n_classes - known)])
    former = torch.tensor([k for k in range(known) if k not in mine.tolist()], dtype=torch.int64)
    if len(former):
        similarity = cosine_scores(extended[-2, former], means[-2])
        extended[-1, former] = torch.softmax(similarity, dim=-1) @ means[-1]
    share = (measurement.counts / (counts[mine] + measurement.counts)).unsqueeze(-1)
    extended[:-1, mine] = torch.lerp(extended[:-1, mine], means[:-1], share)
    extended[-1, mine] = means[-1]
    counts[mine] += measurement.counts
    return extended, counts
