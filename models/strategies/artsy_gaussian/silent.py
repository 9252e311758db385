"""A task's own sub-network, silent behind its synapse."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from models.adapter import Adapter, adapter_state
from models.evidence_synapse import NEVER, EvidenceSynapse
from models.head import GaussianHead
from models.ledger import Removal
from models.state import StateReader
from models.statistics import ClassRecords, ClassStatistics
from models.strategies.artsy_gaussian.config import ArtsyGaussianConfig


@dataclass(frozen=True)
class SilentSubnetwork:
    """A task's own sub-network behind its synapse, with the closed-form head that reads it."""

    index: int
    """The task's."""
    adapter: Adapter
    synapse: EvidenceSynapse
    records: ClassRecords
    """Of its own features, in the order of `classes`."""
    temperature: float
    head: GaussianHead

    @property
    def classes(self) -> Tensor:
        """Indexes of the classes it can tell apart, int64 `(C,)`."""
        return self.synapse.classes

    def log_probabilities(self, features: Tensor) -> Tensor:
        """Return log-probabilities among its own classes, `(B, C)`, for its own features `(B, D)`."""
        return F.log_softmax(self.head.logits(features) / self.temperature, dim=-1)

    def trimmed(self, removal: Removal, config: ArtsyGaussianConfig) -> "SilentSubnetwork":
        """Number the classes anew, and drop those that go; one that is left alone needs no opinion."""
        stays, classes = removal.trim(self.classes)
        if stays.all():
            return replace(self, synapse=replace(self.synapse, classes=classes))
        records = self.records.select(stays)
        threshold = self.synapse.threshold if len(classes) > 1 else NEVER
        return replace(
            self,
            synapse=EvidenceSynapse(threshold, classes),
            records=records,
            head=make_head(records.gaussians(), config),
        )

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors of its task under prefixed keys."""
        prefix = f"tasks.{self.index}."
        numbers = [self.temperature, self.synapse.threshold]
        return {
            **adapter_state(self.adapter, f"{prefix}adapter."),
            **self.records.state_dict(f"{prefix}own."),
            # Not below the task's prefix: unlearning another task may number the classes anew.
            f"classes.{self.index}": self.classes,
            f"{prefix}synapse": torch.tensor(numbers, dtype=torch.float64),
        }

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, Tensor],
        index: int,
        config: ArtsyGaussianConfig,
        load: Callable[[Mapping[str, Tensor], str], Adapter],
    ) -> "SilentSubnetwork":
        """Rebuild from what `state_dict` returned.

        Args:
            state: As it was returned, perhaps damaged.
            index: The task's.
            config: The strategy's.
            load: Rebuilds the adapter whose keys have a prefix.

        Raises:
            CheckpointError: If a tensor is missing or has the wrong shape.
        """
        prefix = f"tasks.{index}."
        reader = StateReader(state, what=f"task {index}")
        numbers = reader.tensor(f"{prefix}synapse", (2,), torch.float64)
        records = ClassRecords.from_state(state, f"{prefix}own.")
        classes = reader.tensor(f"classes.{index}", records.counts.shape, torch.int64)
        temperature, threshold = numbers.tolist()
        head = make_head(records.gaussians(), config)
        synapse = EvidenceSynapse(threshold, classes)
        adapter = load(state, f"{prefix}adapter.")
        return cls(index, adapter, synapse, records, temperature, head)


def make_head(statistics: ClassStatistics, config: ArtsyGaussianConfig) -> GaussianHead:
    """Return the closed-form classifier of some classes."""
    return GaussianHead(statistics, shrinkage=config.shrinkage, prior=config.covariance_prior)
