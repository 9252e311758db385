"""What one consolidation left: its sub-network, how it moved the features, and what the images of its tasks became."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.adapter import Adapter, adapter_state
from models.ledger import Removal
from models.shown import FeatureRecords
from models.state import StateReader
from models.statistics import Drift
from models.strategies.artsy.silent import SilentSubnetwork


@dataclass(frozen=True)
class Consolidation:
    """One move of the functional adapter, towards a sub-network that the images of some tasks have trained.

    Its tasks keep what they showed before it, too: so it can be undone, and they wait for another one.
    """

    number: int
    """From 1, in the order of the moves."""
    trained_by: tuple[int, ...]
    """Indexes of all tasks whose images trained it, in order, those unlearned since too."""
    drift: Drift
    """How it moved features."""
    adapter: Adapter | None
    """Its sub-network. None once all its tasks are unlearned."""
    records: dict[int, FeatureRecords]
    """What each of its tasks shows since, by index, of the images themselves."""
    subnetworks: dict[int, SilentSubnetwork]
    """The sub-network behind the synapse of each of these tasks."""

    @property
    def prefix(self) -> str:
        """Of its keys in the state."""
        return f"consolidations.{self.number}."

    def trimmed(self, removal: Removal, classes_of: Mapping[int, Tensor]) -> "Consolidation":
        """Return what is left without what a removal takes; `classes_of` tasks are those from before it."""
        records, subnetworks = {}, {}
        for index, of_task in self.records.items():
            if index in removal.tasks:
                continue
            stays, _ = removal.trim(classes_of[index])
            records[index] = of_task if stays.all() else of_task.select(stays)
            subnetworks[index] = self.subnetworks[index].trimmed(removal)
        adapter = self.adapter if records else None
        return replace(self, adapter=adapter, records=records, subnetworks=subnetworks)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors under prefixed keys."""
        state = {
            f"{self.prefix}tasks": torch.tensor(self.trained_by, dtype=torch.int64),
            **self.drift.state_dict(f"{self.prefix}drift."),
        }
        if self.adapter is not None:
            state |= adapter_state(self.adapter, f"{self.prefix}adapter.")
        for index, records in self.records.items():
            state |= records.state_dict(f"{self.prefix}{index}.records.")
            state |= self.subnetworks[index].state_dict(f"{self.prefix}{index}.")
        return state

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, Tensor],
        number: int,
        classes_of: Mapping[int, Tensor],
        width: int,
        load: Callable[[Mapping[str, Tensor], str], Adapter],
    ) -> "Consolidation":
        """Rebuild from what `state_dict` returned.

        Args:
            state: As it was returned, perhaps damaged.
            number: Of the consolidation.
            classes_of: Indexes of the classes of every task that is known, int64 `(C,)`.
            width: W.
            load: Rebuilds the adapter whose keys have a prefix.

        Raises:
            CheckpointError: If a tensor is missing or has the wrong shape.
        """
        prefix = f"consolidations.{number}."
        reader = StateReader(state, prefix, what=f"consolidation {number}")
        trained_by = tuple(reader.tensor("tasks", (None,), torch.int64).tolist())
        drift = Drift(
            reader.tensor("drift.linear", (width, width), torch.float64),
            reader.tensor("drift.offset", (width,), torch.float64),
        )
        known = [index for index in trained_by if index in classes_of]
        reader.require(_differ(trained_by), "tasks")
        adapter = load(state, f"{prefix}adapter.") if known else None
        records, subnetworks = {}, {}
        for index in known:
            classes = classes_of[index]
            of_task = f"{prefix}{index}."
            records[index] = FeatureRecords.from_state(
                state, f"{of_task}records.", len(classes), width
            )
            assert adapter is not None
            subnetworks[index] = SilentSubnetwork.from_state(
                state, of_task, index, adapter, classes, width
            )
        return cls(number, trained_by, drift, adapter, records, subnetworks)


def _differ(indexes: Collection[int]) -> bool:
    return len(indexes) > 0 and len(set(indexes)) == len(indexes)
