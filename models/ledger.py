"""Which task brought images of which class: what has to be known to take a task or a class out again."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from models.correcting import NOWHERE, Change
from models.errors import CheckpointError
from models.state import StateReader


class Entry(NamedTuple):
    """What one task brought of one class."""

    task: int
    """The task's index."""
    target: int
    """The class's index."""
    n_images: int


@dataclass(frozen=True)
class Ledger:
    """Entries of all tasks: task by task, and in each in the order in which its classes first appear."""

    entries: tuple[Entry, ...] = ()

    def with_task(self, index: int, targets: Tensor) -> "Ledger":
        """Return a ledger that knows one more task too, whose images have these targets, int64 `(N,)`."""
        counts: dict[int, int] = {}
        for target in targets.tolist():
            counts[target] = counts.get(target, 0) + 1
        new = tuple(Entry(index, target, n) for target, n in counts.items())
        return Ledger(self.entries + new)

    def classes_of(self, index: int) -> Tensor:
        """Return the classes of a task, int64 `(C,)`, in the order in which they first appear in it."""
        targets = [entry.target for entry in self.entries if entry.task == index]
        return torch.tensor(targets, dtype=torch.int64)

    def corrected(self, changes: Sequence[Change]) -> "Ledger":
        """Return a ledger in which images of tasks have changed their classes.

        What a task shows of a class for the first time comes last among its entries.
        """
        counts = {(entry.task, entry.target): entry.n_images for entry in self.entries}
        for change in changes:
            for before, after in zip(change.before, change.after, strict=True):
                for target, n in ((before, -1), (after, 1)):
                    if target != NOWHERE:
                        key = (change.task, target)
                        counts[key] = counts.get(key, 0) + n
        order = list(dict.fromkeys(entry.task for entry in self.entries))
        left = [Entry(task, target, n) for (task, target), n in counts.items() if n]
        return Ledger(tuple(sorted(left, key=lambda entry: order.index(entry.task))))

    def without(self, *, tasks: Collection[int] = (), targets: Collection[int] = ()) -> "Removal":
        """Say what goes and what stays when these tasks, and these classes of every task, are taken out."""
        gone = tuple(e for e in self.entries if e.task in tasks or e.target in targets)
        stays = tuple(e for e in self.entries if e.task not in tasks and e.target not in targets)
        kept = tuple(dict.fromkeys(e.target for e in stays))
        new_index = {target: k for k, target in enumerate(kept)}
        left = {e.task for e in stays}
        n_classes = len({e.target for e in self.entries})
        return Removal(
            entries=gone,
            tasks=tuple(dict.fromkeys(e.task for e in gone if e.task not in left)),
            kept=torch.tensor(kept, dtype=torch.int64),
            renumbered=torch.tensor([new_index.get(k, -1) for k in range(n_classes)]),
            ledger=Ledger(tuple(e._replace(target=new_index[e.target]) for e in stays)),
            is_latest=self.entries[: len(stays)] == stays and not left & {e.task for e in gone},
        )

    def state_dict(self) -> dict[str, Tensor]:
        """Return the entries as one int64 tensor `(R, 3)` of task, class and images."""
        return {"ledger": torch.tensor(self.entries, dtype=torch.int64).reshape(-1, 3)}

    @classmethod
    def from_state(
        cls, state: Mapping[str, Tensor], task_indexes: Sequence[int], n_classes: int
    ) -> "Ledger":
        """Rebuild from what `state_dict` returned.

        Raises:
            CheckpointError: If it is missing, as in versions of an older layout, or tells of other tasks or classes.
        """
        reader = StateReader(state, what="the ledger of tasks and classes")
        if "ledger" not in reader:
            raise CheckpointError(
                "This version does not say which task brought which class: it was written by an older release. "
                "Learn its tasks again."
            )
        rows = reader.tensor("ledger", (None, 3), torch.int64)
        ledger = cls(tuple(Entry(*row) for row in rows.tolist()))
        tasks = {e.task for e in ledger.entries}
        targets = {e.target for e in ledger.entries}
        if tasks != set(task_indexes) or targets != set(range(n_classes)):
            raise CheckpointError("The ledger tells of other tasks or classes than the manifest.")
        return ledger


@dataclass(frozen=True)
class Removal:
    """What goes and what stays when tasks and classes are taken out. Shapes: K classes before."""

    entries: tuple[Entry, ...]
    """What goes, by the class indexes from before."""
    tasks: tuple[int, ...]
    """Indexes of the tasks of which nothing stays."""
    kept: Tensor
    """Index from before of each class that stays, int64 `(K - gone,)`: in the order in which the tasks that are left
    first show them, as in a learner that never saw the rest."""
    renumbered: Tensor
    """New index of each class from before, int64 `(K,)`; -1 for one that goes."""
    ledger: Ledger
    """What stays, by the new class indexes."""
    is_latest: bool
    """Whether all that goes was learned after all that stays."""

    def trim(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Return which of a task's classes `(C,)` stay, bool `(C,)`, and the new indexes of those.

        Only for a task of which something stays.
        """
        new = self.renumbered[classes]
        stays = new >= 0
        return stays, new[stays]
