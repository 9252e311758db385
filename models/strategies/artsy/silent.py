"""The sub-network that a task was consolidated with, silent behind the task's synapse."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from models.adapter import Adapter
from models.closed_form import offered
from models.correcting import Change, corrected
from models.evidence import EvidenceHead, Opinion, folds, opinions_from, opinions_tensor, weigh
from models.evidence_synapse import NEVER, EvidenceSynapse
from models.joined_heads import JoinedHeads, joined
from models.ledger import Removal
from models.reference import Prior
from models.shown import FeatureRecords, Shown
from models.state import StateReader


@dataclass(frozen=True)
class SilentSubnetwork:
    """A sub-network behind the synapse of one task, with the heads that read it. Tasks may share the sub-network.

    Shapes: B images, C classes of the task, W feature width.
    """

    index: int
    """The task's."""
    adapter: Adapter
    synapse: EvidenceSynapse
    records: FeatureRecords
    """Of its own features, in the order of the synapse's classes."""
    head: EvidenceHead

    @classmethod
    def of(
        cls, index: int, adapter: Adapter, classes: Tensor, records: FeatureRecords
    ) -> "SilentSubnetwork":
        """Weigh the heads among the task's classes; the synapse never fires as yet."""
        shown = _shown(records)
        opinions = weigh(shown, Prior.none(records.means.shape[1]), folds(shown)).opinions
        return cls(
            index, adapter, EvidenceSynapse(NEVER, classes), records, _head(records, opinions)
        )

    @property
    def classes(self) -> Tensor:
        """Indexes of the classes it can tell apart, int64 `(C,)`."""
        return self.synapse.classes

    def log_probabilities(self, features: Tensor) -> Tensor:
        """Return log-probabilities among its own classes, `(B, C)`, for its own features `(B, W)`."""
        return self.head.probabilities(features).clamp(min=1e-30).log()

    def opinion(self, features: Tensor) -> Tensor:
        """Return what `log_probabilities` does, but for rounding, sooner."""
        return self._joined.probabilities(features).clamp(min=1e-30).log()

    @cached_property
    def _joined(self) -> EvidenceHead | JoinedHeads:
        return joined(self.head)

    def with_threshold(self, threshold: float) -> "SilentSubnetwork":
        """Return it behind a synapse of this threshold."""
        return replace(self, synapse=EvidenceSynapse(threshold, self.classes))

    def trimmed(self, removal: Removal) -> "SilentSubnetwork":
        """Number the classes anew, and drop those that go; one that is left alone needs no opinion."""
        stays, classes = removal.trim(self.classes)
        if stays.all():
            return replace(self, synapse=replace(self.synapse, classes=classes))
        smaller = SilentSubnetwork.of(self.index, self.adapter, classes, self.records.select(stays))
        return smaller if len(classes) < 2 else smaller.with_threshold(self.synapse.threshold)

    def corrected(self, before: Tensor, change: Change, features: Tensor) -> "SilentSubnetwork":
        """Let images of the task change their classes; one that is left alone needs no opinion.

        Args:
            before: Indexes of the task's classes so far, int64 `(C,)`.
            change: Which images, from where to where.
            features: What they are under the sub-network, `(N, W)`.
        """
        records, classes = corrected(self.records, before, change, features)
        new = SilentSubnetwork.of(self.index, self.adapter, classes, records)
        return new if len(classes) < 2 else new.with_threshold(self.synapse.threshold)

    def state_dict(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors under prefixed keys, all but the adapter's."""
        return {
            **self.records.state_dict(f"{prefix}own."),
            f"{prefix}own.heads": opinions_tensor(self.head.opinions),
            f"{prefix}synapse": torch.tensor(self.synapse.threshold, dtype=torch.float64),
        }

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, Tensor],
        prefix: str,
        index: int,
        adapter: Adapter,
        classes: Tensor,
        width: int,
    ) -> "SilentSubnetwork":
        """Rebuild from what `state_dict` returned.

        Args:
            state: As it was returned, perhaps damaged.
            prefix: Of its keys.
            index: The task's.
            adapter: Stored beside it.
            classes: Indexes of its classes, int64 `(C,)`.
            width: W.

        Raises:
            CheckpointError: If a tensor is missing or has the wrong shape.
        """
        reader = StateReader(state, prefix, what=f"task {index}")
        records = FeatureRecords.from_state(state, f"{prefix}own.", len(classes), width)
        buildable = offered(_shown(records), Prior.none(width))
        opinions = opinions_from(reader, "own.heads", buildable)
        synapse = EvidenceSynapse(reader.number("synapse"), classes)
        return cls(index, adapter, synapse, records, _head(records, opinions))


def _shown(records: FeatureRecords) -> Shown:
    C, W = records.means.shape
    return Shown.merged([(0, torch.arange(C), records, None)], C, W)


def _head(records: FeatureRecords, opinions: Sequence[Opinion]) -> EvidenceHead:
    prior = Prior.none(records.means.shape[1])
    return EvidenceHead(_shown(records), prior, opinions, measures=False)
