"""What a learner went through: what each task showed, and how each consolidation moved the features since.

Episodes are in order. Those of tasks have the task's index; those of consolidations their number, negative. A task
shows its features as they were when it was learned and, once it is consolidated, as its images gave them right after
that. Whatever moved the features later carries them along, as it does what novelty is measured against.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from models.adapter import Adapter, adapter_state
from models.consolidation import undone
from models.correcting import Change, corrected
from models.episodes import Episode, carried, trimmed_episode
from models.errors import CorrectionError
from models.evidence_synapse import NEVER
from models.fitting import derive_seed
from models.ledger import Ledger, Removal
from models.reference import Reference
from models.shown import FeatureRecords, KeptRows, Shown
from models.state import StateReader
from models.statistics import Drift
from models.strategies.artsy.consolidation import Consolidation
from models.strategies.artsy.silent import SilentSubnetwork
from models.strategies.artsy.trial import Move, Shots
from models.strategies.values import Task

LookUnder = Callable[[Tensor, Sequence[Adapter | None]], list[Tensor]]
"""Returns the features of images under each of some adapters."""
LoadAdapter = Callable[[Mapping[str, Tensor], str], Adapter]
"""Rebuilds the adapter whose keys have a prefix."""


class History:
    """Episodes, the functional adapter that came of them, and the sub-networks behind synapses.

    Shapes: K classes, W feature width.
    """

    def __init__(self, width: int) -> None:
        """Begin with nothing, W wide."""
        self.functional: Adapter | None = None
        """None while the features are the backbone's own."""
        self.episodes: list[Episode[FeatureRecords]] = []
        """Those of unlearned tasks too, where they moved the features."""
        self.consolidations: dict[int, Consolidation] = {}
        """By number."""
        self._trained: dict[int, SilentSubnetwork] = {}
        """Of tasks that were trained as they were learned, as releases did that knew no consolidation, by index."""
        self._width = width

    @property
    def unconsolidated(self) -> tuple[int, ...]:
        """Indexes of the tasks that trained nothing yet."""
        done = self._consolidated_tasks()
        return tuple(
            episode.index
            for episode in self.episodes
            if episode.records is not None and not episode.moved and episode.index not in done
        )

    @property
    def subnetworks(self) -> list[dict[int, SilentSubnetwork]]:
        """The sub-networks, each as it lies behind the synapses of the tasks that share it, by index."""
        alone = [{index: subnetwork} for index, subnetwork in self._trained.items()]
        return alone + [e.subnetworks for e in self.consolidations.values() if e.subnetworks]

    @property
    def n_moved(self) -> int:
        """How many tasks, all in all, trained what the functional adapter is the mean of."""
        return sum(self._n_trained(episode) for episode in self.episodes if episode.moved)

    @property
    def carried_tasks(self) -> list[int]:
        """Indexes of tasks whose features moved since they were made of images."""
        return [index for index, _, _, drift in self._parts() if drift is not None]

    def copy(self) -> "History":
        """Return one that changes by itself; what episodes and consolidations hold is shared, as it never changes."""
        copied = History(self._width)
        copied.functional = self.functional
        copied.episodes = list(self.episodes)
        copied.consolidations, copied._trained = dict(self.consolidations), dict(self._trained)
        return copied

    def classes_of(self, index: int) -> Tensor:
        """Return the indexes of the classes of a task, int64 `(C,)`, in the order of its records."""
        return self._classes()[index]

    def shown(self, n_classes: int, *, without: Collection[int] = ()) -> Shown:
        """Return what all tasks but some showed of K classes, where the features are now."""
        parts = [part for part in self._parts() if part[0] not in without]
        return Shown.merged(parts, n_classes, self._width)

    def kept_rows(self) -> list[KeptRows]:
        """Return of which images the rows of `shown` are, in order."""
        found = []
        for index, classes, records, _ in self._parts():
            columns = (classes, records.kept, records.counts, records.untrained)
            for target, kept, count, untrained in zip(*map(Tensor.tolist, columns), strict=True):
                in_order = kept == count and untrained == kept
                found.append(KeptRows(index, target, kept, int(count), in_order))
        return found

    def carry(self, reference: Reference) -> Reference:
        """Return what novelty is measured against, where the features are now."""
        for episode in self.episodes:
            reference = reference.carried(episode.drift)
        return reference

    def add_task(self, index: int, classes: Tensor, records: FeatureRecords) -> None:
        """Add what a task shows, class by class; `classes` are their indexes, int64 `(C,)`."""
        self.episodes.append(Episode(index, None, classes, records, moved=False))

    def add_consolidation(
        self, tasks: Sequence[Task], shots: Shots, move: Move, *, threshold: float
    ) -> None:
        """Move the functional adapter, and keep what the images of some tasks became.

        Args:
            tasks: Which.
            shots: Their images, N of them.
            move: What came of training on them.
            threshold: Of the synapses, if the sub-network has earned its pass.
        """
        records, subnetworks = {}, {}
        for task in tasks:
            mine, classes = shots.tasks == task.index, self.classes_of(task.index)
            targets = torch.searchsorted(classes, shots.targets[mine])
            seed, trained = derive_seed(task.seed, task.index, 3), move.trained[mine]
            records[task.index], own = (
                FeatureRecords.of(x[mine], targets, len(classes), seed=seed, trained=trained)
                for x in (move.features, move.own_features)
            )
            subnetwork = SilentSubnetwork.of(task.index, move.own, classes, own)
            subnetworks[task.index] = subnetwork.with_threshold(threshold if move.earned else NEVER)
        number = max(self.consolidations, default=0) + 1
        indexes = tuple(task.index for task in tasks)
        self._add(Consolidation(number, indexes, move.drift, move.own, records, subnetworks))
        self.functional = move.functional

    def forget(self, removal: Removal) -> bool:
        """Take out what a removal names; return whether the weights that stay still carry a trace of it.

        What came last is taken back, down to the first episode that has to stay.
        """
        losing = {entry.task for entry in removal.entries}
        while self._can_take_back(removal, losing):
            self._take_back()
        classes = self._classes()
        self.consolidations = {
            number: each.trimmed(removal, classes) for number, each in self.consolidations.items()
        }
        self._trained = {
            index: subnetwork.trimmed(removal)
            for index, subnetwork in self._trained.items()
            if index not in removal.tasks
        }
        left = {episode.index for episode in self.episodes if episode.moved}
        left.update(*(each.trained_by for each in self.consolidations.values()))
        trimmed = (trimmed_episode(episode, removal) for episode in self.episodes)
        self.episodes = [e for e in trimmed if e.moved or e.records is not None]
        return bool(losing & left)

    def correct(self, changes: Sequence[Change], images: Sequence[Tensor], look: LookUnder) -> bool:
        """Let images change their classes; return whether weights were trained while they had the labels from before.

        Each kept row is found by what its image becomes under the very adapter that made it, and goes along as it is.

        Args:
            changes: What changes of each task, at most once for a task.
            images: Those of each change, uint8 `(N, 3, H, W)`.
            look: Makes features of images.

        Raises:
            CorrectionError: If an image is not found, or what made its row cannot be made again.
        """
        then = self._functional_then()
        for change, of_task in zip(changes, images, strict=True):
            self._correct_task(change, of_task, look, then)
        changed = {change.task for change in changes}
        trained = {episode.index for episode in self.episodes if episode.moved}
        trained.update(*(each.trained_by for each in self.consolidations.values()))
        return bool(changed & trained)

    def _correct_task(
        self,
        change: Change,
        images: Tensor,
        look: LookUnder,
        then: Mapping[int, Adapter | None],
    ) -> None:
        place = [episode.index for episode in self.episodes].index(change.task)
        episode, silent = self.episodes[place], self._trained.get(change.task)
        number = next((n for n, e in self.consolidations.items() if change.task in e.records), None)
        if number is not None:
            silent = self.consolidations[number].subnetworks[change.task]
        made_by = [change.task] if number is None else [change.task, -number]
        if not then.keys() >= set(made_by):
            raise CorrectionError(
                f"The features of task {change.task} were moved by images that have been unlearned since, so its "
                "images cannot be told apart any more: unlearn the task, and teach it again."
            )
        adapters = [then[index] for index in made_by]
        looks = look(images, adapters if silent is None else [*adapters, silent.adapter])
        assert episode.records is not None
        before = episode.classes
        records, classes = corrected(episode.records, before, change, looks[0])
        self.episodes[place] = replace(episode, records=records, classes=classes)
        if silent is not None:
            silent = silent.corrected(before, change, looks[-1])
        if number is None:
            if silent is not None:
                self._trained[change.task] = silent
            return
        assert silent is not None
        consolidation = self.consolidations[number]
        after, _ = corrected(consolidation.records[change.task], before, change, looks[1])
        self.consolidations[number] = replace(
            consolidation,
            records={**consolidation.records, change.task: after},
            subnetworks={**consolidation.subnetworks, change.task: silent},
        )

    def _functional_then(self) -> dict[int, Adapter | None]:
        """Return the functional adapter as it was after each episode, by index, back to a move that nobody can undo."""
        then: dict[int, Adapter | None] = {}
        functional, n_trained = self.functional, self.n_moved
        for episode in reversed(self.episodes):
            then[episode.index] = functional
            if not episode.moved:
                continue
            n_new, own = self._n_trained(episode), self._own(episode)
            n_trained -= n_new
            if not n_trained:
                functional = None
            elif own is None or functional is None:
                break
            else:
                functional = undone(functional, own, n_before=n_trained, n_new=n_new)
        return then

    def _own(self, episode: Episode[FeatureRecords]) -> Adapter | None:
        """Return the sub-network that moved the features in an episode; None once what trained it is unlearned."""
        if episode.index < 0:
            return self.consolidations[-episode.index].adapter
        trained = self._trained.get(episode.index)
        return None if trained is None else trained.adapter

    def state_dict(self) -> dict[str, Tensor]:
        """Return all tensors, those of one task or consolidation under a prefix of its own."""
        rows = [[episode.index, episode.moved] for episode in self.episodes]
        state = {"episodes": torch.tensor(rows, dtype=torch.int64).reshape(-1, 2)}
        if self.functional is not None:
            state |= adapter_state(self.functional, "functional.")
        for episode in self.episodes:
            prefix = f"tasks.{episode.index}."
            if episode.drift is not None and episode.index > 0:
                state |= episode.drift.state_dict(f"{prefix}drift.")
            if episode.records is not None:
                state |= episode.records.state_dict(f"{prefix}records.")
                # Not below the task's prefix: unlearning another task may number the classes anew.
                state[f"classes.{episode.index}"] = episode.classes
        for index, subnetwork in self._trained.items():
            state |= adapter_state(subnetwork.adapter, f"tasks.{index}.adapter.")
            state |= subnetwork.state_dict(f"tasks.{index}.")
        for consolidation in self.consolidations.values():
            state |= consolidation.state_dict()
        return state

    @classmethod
    def from_state(
        cls, state: Mapping[str, Tensor], ledger: Ledger, width: int, load: LoadAdapter
    ) -> "History":
        """Rebuild from what `state_dict` returned, of the tasks that a ledger knows.

        Raises:
            CheckpointError: If a tensor is missing or has the wrong shape, or they do not fit together.
        """
        reader, history = StateReader(state, what="the episodes"), cls(width)
        rows = reader.tensor("episodes", (None, 2), torch.int64).tolist()
        reader.require(len({index for index, _ in rows}) == len(rows), "episodes")
        reader.require(all(index and (moved or index > 0) for index, moved in rows), "episodes")
        tasks = {
            index: _load_episode(state, reader, index, ledger, width, moved=bool(moved))
            for index, moved in rows
            if index > 0
        }
        classes = {i: e.classes for i, e in tasks.items() if e.records is not None}
        done: set[int] = set()
        for index, moved in rows:
            if index < 0:
                found = Consolidation.from_state(state, -index, classes, width, load)
                # Each task once, after it was learned.
                there = {episode.index for episode in history.episodes if not episode.moved}
                reader.require(there.issuperset(found.records), "episodes")
                reader.require(done.isdisjoint(found.records), "episodes")
                done.update(found.records)
                history._add(found)
                continue
            history.episodes.append(tasks[index])
            if moved and index in classes:
                prefix = f"tasks.{index}."
                adapter = load(state, f"{prefix}adapter.")
                history._trained[index] = SilentSubnetwork.from_state(
                    state, prefix, index, adapter, classes[index], width
                )
        if any(moved for _, moved in rows):
            history.functional = load(state, "functional.")
        return history

    def _add(self, consolidation: Consolidation) -> None:
        self.consolidations[consolidation.number] = consolidation
        nothing = torch.zeros(0, dtype=torch.int64)
        self.episodes.append(Episode(-consolidation.number, consolidation.drift, nothing, None))

    def _parts(self) -> Iterator[tuple[int, Tensor, FeatureRecords, Drift | None]]:
        """Return what each task shows: its index, classes, records, and how features moved since."""
        classes, done = self._classes(), self._consolidated_tasks()
        for episode, drift in carried(self.episodes):
            if episode.index < 0:
                for index, records in self.consolidations[-episode.index].records.items():
                    yield index, classes[index], records, drift
            elif episode.records is not None and episode.index not in done:
                yield episode.index, episode.classes, episode.records, drift

    def _classes(self) -> dict[int, Tensor]:
        return {each.index: each.classes for each in self.episodes if each.records is not None}

    def _consolidated_tasks(self) -> set[int]:
        return {index for each in self.consolidations.values() for index in each.records}

    def _n_trained(self, episode: Episode[FeatureRecords]) -> int:
        """Return how many tasks trained what moved the features in an episode."""
        if episode.index > 0:
            return 1
        return len(self.consolidations[-episode.index].trained_by)

    def _can_take_back(self, removal: Removal, losing: Collection[int]) -> bool:
        """Tell whether the newest episode goes: a task that does, or a consolidation that what goes has trained."""
        newest = self.episodes[-1]
        if newest.index > 0:
            return newest.index in removal.tasks
        consolidation = self.consolidations[-newest.index]
        is_trace = not set(losing).isdisjoint(consolidation.trained_by)
        return is_trace and consolidation.adapter is not None

    def _take_back(self) -> None:
        """Drop the newest episode, and give the functional adapter its weights from before it.

        The other tasks of a consolidation are as they were learned again.
        """
        newest = self.episodes[-1]
        n_new, n_before = self._n_trained(newest), self.n_moved - self._n_trained(newest)
        self.episodes.pop()
        if not newest.moved:
            return
        own = (
            self._trained.pop(newest.index).adapter
            if newest.index > 0
            else self.consolidations.pop(-newest.index).adapter
        )
        assert self.functional is not None
        assert own is not None
        back = undone(self.functional, own, n_before=n_before, n_new=n_new) if n_before else None
        self.functional = back


def _load_episode(
    state: Mapping[str, Tensor],
    reader: StateReader,
    index: int,
    ledger: Ledger,
    width: int,
    *,
    moved: bool,
) -> Episode[FeatureRecords]:
    """Rebuild the episode of a task; of one that the ledger does not know its move alone."""
    drift = Drift.from_state(state, f"tasks.{index}.drift.")
    is_moved = drift is not None and len(drift.offset) == width
    reader.require(is_moved or not moved, f"tasks.{index}.drift")
    n_classes = len(ledger.classes_of(index))
    if not n_classes:
        return Episode(index, drift, torch.zeros(0, dtype=torch.int64), None, moved)
    classes = reader.tensor(f"classes.{index}", (n_classes,), torch.int64)
    all_known = {entry.target for entry in ledger.entries}
    is_known = set(classes.tolist()) <= all_known and len(classes.unique()) == n_classes
    reader.require(is_known, f"classes.{index}")
    records = FeatureRecords.from_state(state, f"tasks.{index}.records.", n_classes, width)
    return Episode(index, drift, classes, records, moved)
