"""Artsy as the default of earlier releases was: every task moves the functional adapter, and Gaussians answer.

Kept for the learners made with it, and to compare with. What replaced it, and why, is in
docs/decisions/0032-few-images.md.

After each task the functional adapter moves to the running mean of all tasks' sub-networks: a synapse that is always
functional, slowly carrying what every task taught. The statistics of old classes follow the features as they drift,
estimated on the new task's images alone, so no old image is needed. One plain pass answers most images.

Each task also keeps its own sub-network, silent behind its synapse (`models.evidence_synapse`). Its current is evidence
times uncertainty: the probability that the image belongs to the task, times the probability that the answer is wrong.
Where that reaches the threshold, the sub-network takes one more pass and its opinion on its own classes is merged in.

What is stored are episodes: what each task showed when it was learned, class by class, and how far its consolidation
moved the features. The pooled statistics are their replay, so a task or class can be taken out of them as if it had
never come. The functional adapter is given back its weights from before where the newest task goes; where an older one
goes, the trace in the weights stays.

Reference:
    Ran et al., 2024, https://arxiv.org/abs/2410.05899. The literal method is `artsy_paper`; why this differs is in
    docs/decisions/0005-default-artsy-is-consolidated.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from models.adapter import Adapter, adapter_state, load_adapter
from models.backbone import Backbone
from models.calibration import GAUSSIAN_PRIOR, fit_temperature
from models.consolidation import RESIDUE, consolidated, undone
from models.episodes import Episode, trimmed_episode, without_idle_drifts
from models.errors import CheckpointError
from models.evidence_synapse import NEVER, EvidenceSynapse, EvidenceSynapses
from models.head import CrossValidated, GaussianHead, cross_validate
from models.ledger import Removal
from models.merging import earns_its_pass, merge
from models.progress import Progress, ProgressFn
from models.state import StateReader
from models.statistics import ClassGaussians, ClassRecords, ClassStatistics, Drift
from models.strategies.artsy_gaussian.config import ArtsyGaussianConfig
from models.strategies.artsy_gaussian.episodes import load_episode, replay
from models.strategies.artsy_gaussian.silent import SilentSubnetwork, make_head
from models.strategies.base import Strategy
from models.strategies.subnetwork import train_subnetwork
from models.strategies.values import RawScores, Routes, Task


class ArtsyGaussian(Strategy[ArtsyGaussianConfig]):
    """One functional adapter with drift-corrected statistics, plus silent sub-networks."""

    name = "artsy_gaussian"
    summary = (
        "The default of earlier releases: every task moves the functional adapter, and one Gaussian a class answers. "
        "Loses to class means with few images."
    )
    unlearning = "partial"
    config_type = ArtsyGaussianConfig
    current_below = NEVER
    prior = GAUSSIAN_PRIOR

    def __init__(self, backbone: Backbone, config: ArtsyGaussianConfig) -> None:
        super().__init__(backbone, config)
        self.functional: Adapter | None = None
        self.episodes: list[Episode[ClassRecords]] = []
        """In the order of consolidation, those of unlearned tasks too."""
        self.subnetworks: list[SilentSubnetwork] = []
        self._head: GaussianHead | None = None

    @property
    def synapse_tasks_(self) -> tuple[int, ...]:
        return self.task_indexes_

    @property
    def synapses(self) -> list[EvidenceSynapse]:
        """The synapse of each task."""
        return [subnetwork.synapse for subnetwork in self.subnetworks]

    @property
    def statistics(self) -> ClassGaussians:
        """Statistics of all classes under the functional adapter as it is now: the replay of the episodes."""
        return replay(self.episodes, self.backbone.feature_width)

    @property
    def head(self) -> GaussianHead:
        """The classifier of the functional features, rebuilt after every change of the episodes."""
        if self._head is None:
            self._head = make_head(self.statistics, self.config)
        return self._head

    def _learn(self, task: Task, targets: Tensor, on_progress: ProgressFn) -> dict[str, Any]:
        held_out = self.calibration_set(task)
        before = self.functional
        own, loss = train_subnetwork(
            self.backbone,
            task,
            targets,
            bottleneck=self.config.bottleneck,
            schedule=self.config.schedule,
            start=before,
            on_progress=on_progress,
        )
        on_progress(Progress("consolidating", 0.0))
        features, drift, move = self._move(before, own, task)
        held_out_logits = self._calibrate(task.index, features, targets, drift, held_out)
        on_progress(Progress("consolidating", 0.5))
        subnetwork = self._silence(own, task, targets, held_out, held_out_logits)
        self.subnetworks.append(subnetwork)
        on_progress(Progress("consolidating", 1.0))
        return {"loss": loss, "drift": move, "threshold": subnetwork.synapse.threshold}

    def score_unrouted(self, images: Tensor) -> RawScores:
        distances, logits, probabilities = self._functional_answer(images)
        fires = EvidenceSynapses(self.synapses).would_fire(
            probabilities, at_most=self.config.max_routed
        )
        routes = Routes(*fires, torch.ones(len(probabilities), dtype=torch.int64))
        return RawScores(logits, distances.amin(dim=1), routes, probabilities)

    def score(self, images: Tensor) -> RawScores:
        return self._score(images, None)

    def score_routed(self, images: Tensor, functional: Tensor) -> RawScores:
        return self._score(images, functional)

    def _score(self, images: Tensor, routed: Tensor | None) -> RawScores:
        """Score images; `routed` says which synapses are functional, bool `(B, T)`, if not they."""
        distances, logits, probabilities = self._functional_answer(images)
        unrouted = probabilities.clone()
        currents, thresholds, functional = EvidenceSynapses(self.synapses).route(
            probabilities, at_most=self.config.max_routed
        )
        functional = functional if routed is None else routed
        for t, subnetwork in enumerate(self.subnetworks):
            rows = functional[:, t].nonzero().squeeze(1)
            if len(rows):
                features = self.backbone.embed(images[rows], subnetwork.adapter)
                opinion = subnetwork.log_probabilities(features)
                probabilities[rows] = merge(probabilities[rows], opinion, subnetwork.classes)
        passes = 1 + functional.sum(dim=1)
        routes = Routes(currents, thresholds, functional, passes)
        return RawScores(logits, distances.amin(dim=1), routes, probabilities, unrouted=unrouted)

    def predict_logits(self, images: Tensor) -> Tensor:
        return self.predict(images).probabilities.clamp(min=1e-30).log()

    def _functional_answer(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return squared distances, logits and probabilities, each `(B, K)`, by the functional adapter's features."""
        distances = self.head.squared_distances(self.backbone.embed(images, self.functional))
        logits = self.head.logits_at(distances)
        return distances, logits, self.calibration.probabilities(logits)

    def _state_dict(self) -> dict[str, Tensor]:
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
            state |= subnetwork.state_dict()
        return state

    def _load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        task_indexes = self.task_indexes_
        reader = StateReader(state, what="the episodes")
        if "episodes" not in reader:
            raise CheckpointError(
                "This version holds pooled statistics instead of one record a task: it was written by an older "
                "release. Learn its tasks again."
            )
        self.functional = self._load_adapter(state, "functional.") if task_indexes else None
        self.subnetworks = [
            SilentSubnetwork.from_state(state, index, self.config, self._load_adapter)
            for index in task_indexes
        ]
        classes = {subnetwork.index: subnetwork.classes for subnetwork in self.subnetworks}
        indexes = reader.tensor("episodes", (None,), torch.int64).tolist()
        self.episodes = [load_episode(state, index, classes.get(index)) for index in indexes]
        # Now, not at the first prediction: a version takes over only once it answers at full speed.
        self._head = make_head(self.statistics, self.config) if task_indexes else None

    def _forget(self, removal: Removal, images: Sequence[Task], on_progress: ProgressFn) -> str:
        self.apply_removal(removal)
        while self.episodes[-1].index in removal.tasks:
            self._undo_newest()
        left = {episode.index for episode in self.episodes}
        is_undone = not {entry.task for entry in removal.entries} & left
        self.subnetworks = [
            subnetwork.trimmed(removal, self.config)
            for subnetwork in self.subnetworks
            if subnetwork.index not in removal.tasks
        ]
        self.episodes = without_idle_drifts(
            [trimmed_episode(episode, removal) for episode in self.episodes]
        )
        self._head = None
        return "" if is_undone else RESIDUE

    def _undo_newest(self) -> None:
        """Drop the newest episode, and give the functional adapter its weights from before it."""
        newest = self.episodes.pop()
        own = next(s.adapter for s in self.subnetworks if s.index == newest.index)
        assert self.functional is not None
        self.functional = undone(self.functional, own, n_before=len(self.episodes))

    def _move(
        self, before: Adapter | None, own: Adapter, task: Task
    ) -> tuple[Tensor, Drift | None, float]:
        """Move the functional adapter by its share of the new one, and let the old classes' statistics follow.

        Returns:
            The task's features under the new functional adapter, `(N, D)`; how features moved; and the mean length of
            their move relative to their own. None and 0 for the first task.
        """
        if before is None:
            self.functional = consolidated(None, own, n_before=0)
            return self._embed(task, self.functional), None, 0.0
        old_features = self._embed(task, before)
        self.functional = consolidated(before, own, n_before=len(self.episodes))
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
        head = make_head(records.gaussians(), self.config)
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
        earned = earns_its_pass(alone, opinion, local)
        return SilentSubnetwork(
            index=task.index,
            adapter=own,
            synapse=EvidenceSynapse(self.config.threshold if earned else NEVER, classes),
            records=records,
            temperature=temperature,
            head=head,
        )

    def _load_adapter(self, state: Mapping[str, Tensor], prefix: str) -> Adapter:
        adapter = load_adapter(
            state,
            prefix,
            width=self.backbone.feature_width,
            depth=self.backbone.depth,
            bottleneck=self.config.bottleneck,
        )
        return adapter.to(self.backbone.device)
