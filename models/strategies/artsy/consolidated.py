"""The default form: one consolidated functional adapter, and silent sub-networks that fire where it is unsure.

After each task the functional adapter moves to the running mean of all tasks' sub-networks: a synapse that is always
functional, slowly carrying what every task taught. The statistics of old classes follow the features as they drift,
estimated on the new task's images alone, so no old image is needed. One plain pass answers most images.

Each task also keeps its own sub-network, silent behind its synapse. Its current is evidence times uncertainty: the
probability that the image belongs to the task, times the probability that the answer is wrong. Where that reaches the
threshold, the sub-network takes one more pass and its opinion on its own classes is merged in.

What is stored are episodes: what each task showed when it was learned, class by class, and how far its consolidation
moved the features. The pooled statistics are their replay, so a task or class can be taken out of them as if it had
never come. The functional adapter is given back its weights from before where the newest task goes; where an older one
goes, the trace in the weights stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from models.adapter import Adapter, adapter_state, load_adapter
from models.backbone import Backbone
from models.calibration import GAUSSIAN_PRIOR, fit_temperature
from models.errors import CheckpointError
from models.head import CrossValidated, GaussianHead, cross_validate
from models.ledger import Removal
from models.progress import Progress, ProgressFn
from models.state import StateReader
from models.statistics import ClassGaussians, ClassRecords, ClassStatistics, Drift
from models.strategies.artsy.config import ArtsyConfig
from models.strategies.artsy.episodes import (
    Episode,
    load_episode,
    replay,
    trimmed_episode,
    without_idle_drifts,
)
from models.strategies.artsy.form import Form
from models.strategies.values import RawScores, Routes, Task

NEVER = 1.0
"""Threshold of a synapse that has not earned its pass: a current stays below 1."""
RESIDUE = (
    "Weights that stay were trained with its images: those of the functional adapter, "
    "and of sub-networks that began from it or learned other classes of the same task."
)


@dataclass(frozen=True)
class SilentSubnetwork:
    """A task's own sub-network behind its synapse, with the closed-form head that reads it."""

    index: int
    adapter: Adapter
    classes: Tensor
    """Indexes of the classes it can tell apart, int64 `(C,)`."""
    records: ClassRecords
    """Of its own features, in the order of `classes`."""
    temperature: float
    threshold: float
    head: GaussianHead

    def log_probabilities(self, features: Tensor) -> Tensor:
        """Return log-probabilities among its own classes, `(B, C)`, for its own features `(B, D)`."""
        return F.log_softmax(self.head.logits(features) / self.temperature, dim=-1)


class ConsolidatedForm(Form):
    """One functional adapter with drift-corrected statistics, plus silent sub-networks."""

    prior = GAUSSIAN_PRIOR

    def __init__(self, backbone: Backbone, config: ArtsyConfig) -> None:
        super().__init__(backbone, config)
        self.functional: Adapter | None = None
        self.episodes: list[Episode] = []
        """In the order of consolidation, those of unlearned tasks too."""
        self.subnetworks: list[SilentSubnetwork] = []
        self._head: GaussianHead | None = None

    @property
    def statistics(self) -> ClassGaussians:
        """Statistics of all classes under the functional adapter as it is now: the replay of the episodes."""
        return replay(self.episodes, self.backbone.feature_width)

    @property
    def head(self) -> GaussianHead:
        """The classifier of the functional features, rebuilt after every change of the episodes."""
        if self._head is None:
            self._head = self._make_head(self.statistics)
        return self._head

    def learn(
        self,
        task: Task,
        targets: Tensor,
        held_out: tuple[Tensor, Tensor],
        on_progress: ProgressFn,
    ) -> dict[str, Any]:
        before = self.functional
        own, loss = self.train_subnetwork(task, targets, before, on_progress)
        on_progress(Progress("consolidating", 0.0))
        features, drift, move = self._consolidate(before, own, task)
        held_out_logits = self._calibrate(task.index, features, targets, drift, held_out)
        on_progress(Progress("consolidating", 0.5))
        subnetwork = self._silence(own, task, targets, held_out, held_out_logits)
        self.subnetworks.append(subnetwork)
        on_progress(Progress("consolidating", 1.0))
        return {
            "loss": loss,
            "drift": move,
            "threshold": subnetwork.threshold,
        }

    def score(self, images: Tensor) -> RawScores:
        distances = self.head.squared_distances(self.backbone.embed(images, self.functional))
        logits = self.head.logits_at(distances)
        probabilities = self.calibration.probabilities(logits)
        currents, functional = self._fire(probabilities)
        for t, subnetwork in enumerate(self.subnetworks):
            rows = functional[:, t].nonzero().squeeze(1)
            if len(rows):
                features = self.backbone.embed(images[rows], subnetwork.adapter)
                opinion = subnetwork.log_probabilities(features)
                probabilities[rows] = merge(probabilities[rows], opinion, subnetwork.classes)
        thresholds = torch.tensor([subnetwork.threshold for subnetwork in self.subnetworks])
        routes = Routes(currents, thresholds, functional, passes=1 + functional.sum(dim=1))
        return RawScores(logits, distances.amin(dim=1), routes, probabilities)

    def state_dict(self) -> dict[str, Tensor]:
        indexes = [episode.index for episode in self.episodes]
        state = {"episodes": torch.tensor(indexes, dtype=torch.int64)}
        if self.functional is not None:
            state |= adapter_state(self.functional, "functional.")
        for episode in self.episodes:
            prefix = f"tasks.{episode.index}."
            if episode.drift is not None:
                state |= episode.drift.state_dict(f"{prefix}drift.")
            if episode.records is not None:
                state |= episode.records.state_dict(f"{prefix}records.")
        for subnetwork in self.subnetworks:
            prefix = f"tasks.{subnetwork.index}."
            state |= adapter_state(subnetwork.adapter, f"{prefix}adapter.")
            state |= subnetwork.records.state_dict(f"{prefix}own.")
            # Not below the task's prefix: unlearning another task may number the classes anew.
            state[f"classes.{subnetwork.index}"] = subnetwork.classes
            state[f"{prefix}synapse"] = torch.tensor(
                [subnetwork.temperature, subnetwork.threshold], dtype=torch.float64
            )
        return state

    def load_state_dict(self, state: Mapping[str, Tensor], task_indexes: tuple[int, ...]) -> None:
        reader = StateReader(state, what="the episodes")
        if "episodes" not in reader:
            raise CheckpointError(
                "This version holds pooled statistics instead of one record a task: it was written by an older "
                "release. Learn its tasks again."
            )
        self.functional = self._load_adapter(state, "functional.") if task_indexes else None
        self.subnetworks = [self._load_subnetwork(state, index) for index in task_indexes]
        classes = {subnetwork.index: subnetwork.classes for subnetwork in self.subnetworks}
        indexes = reader.tensor("episodes", (None,), torch.int64).tolist()
        self.episodes = [load_episode(state, index, classes.get(index)) for index in indexes]
        # Now, not at the first prediction: a version takes over only once it answers at full speed.
        self._head = self._make_head(self.statistics) if task_indexes else None

    def unlearn(self, removal: Removal) -> str:
        """Take out what `removal` names.

        Returns:
            What in the scores still carries a trace, in one sentence; empty where nothing does.
        """
        while self.episodes[-1].index in removal.tasks:
            self._undo_newest()
        left = {episode.index for episode in self.episodes}
        is_undone = not {entry.task for entry in removal.entries} & left
        self.subnetworks = [
            self._trimmed(subnetwork, removal)
            for subnetwork in self.subnetworks
            if subnetwork.index not in removal.tasks
        ]
        self.episodes = without_idle_drifts(
            [trimmed_episode(episode, removal) for episode in self.episodes]
        )
        self._head = None
        return "" if is_undone else RESIDUE

    def _undo_newest(self) -> None:
        """Give the functional adapter its weights from before the newest task, exact but for rounding.

        It moved from f to `f + w (own - f)`, and both that and `own` are known.
        """
        weight = self._consolidation_weight(len(self.episodes) - 1)
        own = next(s.adapter for s in self.subnetworks if s.index == self.episodes[-1].index)
        assert self.functional is not None
        self.functional = self.functional.clone()
        self.functional.consolidate(own, weight=-weight / (1 - weight))
        self.functional.freeze()
        self.episodes.pop()

    def _trimmed(self, subnetwork: SilentSubnetwork, removal: Removal) -> SilentSubnetwork:
        """Number a sub-network's classes anew, and drop those that go."""
        stays, classes = removal.trim(subnetwork.classes)
        if stays.all():
            return replace(subnetwork, classes=classes)
        records = subnetwork.records.select(stays)
        return replace(
            subnetwork,
            classes=classes,
            records=records,
            threshold=subnetwork.threshold if len(classes) > 1 else NEVER,
            head=self._make_head(records.gaussians()),
        )

    @staticmethod
    def _consolidation_weight(n_before: int) -> float:
        """Share of a new task in the functional adapter after `n_before` others: that of a running mean."""
        return 1 / (n_before + 1)

    def _consolidate(
        self, before: Adapter | None, own: Adapter, task: Task
    ) -> tuple[Tensor, Drift | None, float]:
        """Move the functional adapter by its share of the new one, and let the old classes' statistics follow.

        Returns:
            The task's features under the new functional adapter, `(N, D)`; how features moved; and the mean length of
            their move relative to their own. None and 0 for the first task.
        """
        if before is None:
            self.functional = own.clone().freeze()
            return self._embed(task, self.functional), None, 0.0
        old_features = self._embed(task, before)
        self.functional = before.clone()
        self.functional.consolidate(own, weight=self._consolidation_weight(len(self.episodes)))
        self.functional.freeze()
        features = self._embed(task, self.functional)
        lengths = (features - old_features).norm(dim=1) / old_features.norm(dim=1)
        return features, Drift.fit(old_features, features), float(lengths.mean())

    def _embed(self, task: Task, adapter: Adapter) -> Tensor:
        """Return features of all views of the task's images, `(V N, D)`: mirrored ones too, where training saw them."""
        features = self.backbone.embed(task.images, adapter)
        if self._n_views == 1:
            return features
        return torch.cat([features, self.backbone.embed(task.images.flip(-1), adapter)])

    @property
    def _n_views(self) -> int:
        return 2 if self.config.augmentation == "crop_flip" else 1

    def _make_head(self, statistics: ClassStatistics) -> GaussianHead:
        config = self.config
        return GaussianHead(statistics, shrinkage=config.shrinkage, prior=config.covariance_prior)

    def _cross_validate(
        self, known: ClassStatistics, features: Tensor, targets: Tensor
    ) -> CrossValidated:
        config = self.config
        return cross_validate(
            known,
            features.cpu(),
            targets,
            shrinkage=config.shrinkage,
            prior=config.covariance_prior,
            views=self._n_views,
        )

    def _calibrate(
        self,
        index: int,
        features: Tensor,
        targets: Tensor,
        drift: Drift | None,
        held_out: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Add the task's episode, and learn how sure to be from images that its statistics did not see.

        That is the held-out images, and the training images by cross-validation: few held-out images alone would take a
        head that was never wrong on them at its word.

        Returns:
            Functional logits of the held-out images, `(E, K)`.
        """
        targets = targets.repeat(self._n_views)
        classes, local_targets = targets.unique(return_inverse=True)
        moved = replay(
            [*self.episodes, Episode(index, drift, classes[:0], None)], features.shape[1]
        )
        crossed = self._cross_validate(moved, features, targets)
        records = ClassRecords.of(features, local_targets, len(classes))
        self.episodes.append(Episode(index, drift, classes, records))
        self._head = None
        images, image_targets = held_out
        distances = self.head.squared_distances(self.backbone.embed(images, self.functional))
        logits = self.head.logits_at(distances)
        nearest = torch.cat([distances.amin(dim=1), crossed.squared_distances.amin(dim=1)])
        self.calibration.add(
            torch.cat([logits, crossed.logits]),
            torch.cat([image_targets, crossed.targets]),
            nearest,
            task=index,
        )
        return logits

    def _silence(
        self,
        own: Adapter,
        task: Task,
        targets: Tensor,
        held_out: tuple[Tensor, Tensor],
        held_out_logits: Tensor,
    ) -> SilentSubnetwork:
        """Put the task's sub-network behind its synapse, and let it fire only if it has earned its pass.

        It has, unless on held-out images of its own classes its opinion makes the answer less likely to be right.
        """
        classes, local_targets = targets.repeat(self._n_views).unique(return_inverse=True)
        features = self._embed(task, own)
        crossed = self._cross_validate(
            ClassGaussians.empty(features.shape[1]), features, local_targets
        )
        records = ClassRecords.of(features, local_targets, len(classes))
        head = self._make_head(records.gaussians())
        images, image_targets = held_out
        local = torch.searchsorted(classes, image_targets)
        own_logits = head.logits(self.backbone.embed(images, own))
        temperature = fit_temperature(
            torch.cat([own_logits, crossed.logits]),
            torch.cat([local, crossed.targets]),
            prior=GAUSSIAN_PRIOR,
        )
        alone = self.calibration.probabilities(held_out_logits)[:, classes]
        alone = alone / alone.sum(dim=1, keepdim=True)
        opinion = F.log_softmax(own_logits / temperature, dim=-1)
        together = merge(alone, opinion, torch.arange(len(classes)))
        earned = len(classes) > 1 and _loss(together, local) <= _loss(alone, local)
        return SilentSubnetwork(
            index=task.index,
            adapter=own,
            classes=classes,
            records=records,
            temperature=temperature,
            threshold=self.config.firing_threshold if earned else NEVER,
            head=head,
        )

    def _fire(self, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """Return currents `(B, T)` and which synapses are functional, at most `max_routed` an image."""
        evidence = torch.stack(
            [probabilities[:, subnetwork.classes].sum(dim=1) for subnetwork in self.subnetworks],
            dim=1,
        )
        currents = (evidence * (1 - probabilities.amax(dim=1, keepdim=True))).clamp(min=0)
        thresholds = torch.tensor([subnetwork.threshold for subnetwork in self.subnetworks])
        reached = currents >= thresholds
        allowed = min(self.config.max_routed, len(self.subnetworks))
        # Only among those that reach their threshold: one that cannot must not take another's place.
        ranks = currents.masked_fill(~reached, -1).topk(allowed, dim=1).indices
        strongest = torch.zeros_like(reached).scatter_(1, ranks, True)
        return currents, strongest & reached

    def _load_adapter(self, state: Mapping[str, Tensor], prefix: str) -> Adapter:
        adapter = load_adapter(
            state,
            prefix,
            width=self.backbone.feature_width,
            depth=self.backbone.depth,
            bottleneck=self.config.bottleneck,
        )
        return adapter.to(self.backbone.device)

    def _load_subnetwork(self, state: Mapping[str, Tensor], index: int) -> SilentSubnetwork:
        prefix = f"tasks.{index}."
        reader = StateReader(state, what=f"task {index}")
        synapse = reader.tensor(f"{prefix}synapse", (2,), torch.float64)
        records = ClassRecords.from_state(state, f"{prefix}own.")
        classes = reader.tensor(f"classes.{index}", records.counts.shape, torch.int64)
        temperature, threshold = synapse.tolist()
        return SilentSubnetwork(
            index=index,
            adapter=self._load_adapter(state, f"{prefix}adapter."),
            classes=classes,
            records=records,
            temperature=temperature,
            threshold=threshold,
            head=self._make_head(records.gaussians()),
        )


def merge(probabilities: Tensor, opinion: Tensor, classes: Tensor) -> Tensor:
    """Merge a sub-network's opinion on its own classes into the probabilities of all.

    The geometric mean of both opinions decides within the classes; the mass they share stays what it was, so an expert
    never takes probability from classes it does not know.

    Args:
        probabilities: `(B, K)`.
        opinion: Log-probabilities among its classes, `(B, C)`.
        classes: Indexes of those classes, `(C,)`.

    Returns:
        Probabilities `(B, K)` with the same row sums.
    """
    mine = probabilities[:, classes]
    both = torch.softmax(0.5 * (mine.clamp(min=1e-30).log() + opinion), dim=-1)
    merged = probabilities.clone()
    merged[:, classes] = both * mine.sum(dim=1, keepdim=True)
    return merged


def _loss(probabilities: Tensor, targets: Tensor) -> float:
    return float(F.nll_loss(probabilities.clamp(min=1e-30).log(), targets))
