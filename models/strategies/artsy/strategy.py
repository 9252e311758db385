"""Artsy, the default: features that move only on evidence, heads that follow it, and silent sub-networks.

One functional adapter, always functional, turns images into features; until a sub-network has earned its place these
are the frozen backbone's own. Closed-form heads read them, each weighted by what it answers to kept rows of features
that are left out in turn (`models.evidence`), over all classes and anew after every task. So the answer follows the
images there are, from one a class to thousands.

A task trains a sub-network of its own where it has images enough, and images that the training never saw judge it, with
the rows of old classes (`trial.py`). If the answer gets better the functional adapter moves to the running mean of all
such sub-networks, and the rows of old classes follow by a drift fitted on the new task's images alone: no old image is
needed. The task's own sub-network stays behind its synapse (`models.evidence_synapse`). Its current is evidence times
uncertainty: the probability that the image belongs to the task, times the probability that the answer is wrong. Where
that reaches the threshold, the sub-network takes one more pass and its opinion on its own classes is merged in.

What is stored are episodes: what each task showed, class by class, and how far it moved the features. A task or class
can be taken out of them as if it had never come. The functional adapter is given back its weights from before where the
newest task goes; where an older one goes that moved it, the trace in the weights stays.

Reference:
    Ran et al., 2024, https://arxiv.org/abs/2410.05899. The literal method is `artsy_paper`; why this differs is in
    docs/decisions/0005-default-artsy-is-consolidated.md and 0032-few-images.md.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from models.adapter import Adapter, adapter_state, load_adapter
from models.backbone import Backbone
from models.closed_form import offered
from models.consolidation import RESIDUE, undone
from models.episodes import Episode, carried, trimmed_episode
from models.evidence import (
    EvidenceHead,
    Opinion,
    balance,
    folds,
    opinions_from,
    opinions_tensor,
    weigh,
)
from models.evidence_synapse import NEVER, EvidenceSynapse, route
from models.fitting import derive_seed
from models.ledger import Removal
from models.merging import merge
from models.nothing import features_of_nothing
from models.novelty import Scale
from models.progress import Progress, ProgressFn
from models.reference import Prior, Reference
from models.shown import FeatureRecords, Shown
from models.state import StateReader
from models.statistics import Drift
from models.strategies.artsy.config import ArtsyConfig
from models.strategies.artsy.silent import SilentSubnetwork
from models.strategies.artsy.trial import Trial
from models.strategies.base import ImagesOf, Strategy
from models.strategies.values import CrossValidation, RawScores, Routes, Task
from models.synapse import thresholds_of


class Artsy(Strategy[ArtsyConfig]):
    """One functional adapter read by heads that follow the evidence, plus silent sub-networks."""

    name = "artsy"
    summary = (
        "Classifiers that follow the evidence, on features that move only where that helps, and a silent sub-network "
        "a task that fires where the answer is uncertain. The default, from the first image on; needs no old image."
    )
    unlearning = "partial"
    cross_validates = True
    reads_features = True
    config_type = ArtsyConfig
    current_below = NEVER

    def __init__(self, backbone: Backbone, config: ArtsyConfig) -> None:
        super().__init__(backbone, config)
        self.functional: Adapter | None = None
        """None while the features are the backbone's own."""
        self.episodes: list[Episode[FeatureRecords]] = []
        """In the order of learning, those of unlearned tasks too."""
        self.subnetworks: dict[int, SilentSubnetwork] = {}
        """Of the tasks that moved the functional adapter, by index."""
        self.reference: Reference | None = None
        """Of the frozen features. None before the first task."""
        self.opinions: list[Opinion] = []
        self.scale: Scale | None = None
        self._head: EvidenceHead | None = None
        self._synapses: list[EvidenceSynapse] = []
        self._left_out: CrossValidation | None = None
        """What was answered to the rows left out. None until it is asked for, after a reload."""

    @property
    def synapse_tasks_(self) -> tuple[int, ...]:
        return self.task_indexes_

    @property
    def synapses(self) -> list[EvidenceSynapse]:
        """The synapse of each task; one without a sub-network never fires."""
        return [
            self.subnetworks[index].synapse
            if index in self.subnetworks
            else EvidenceSynapse(NEVER, self.ledger.classes_of(index))
            for index in self.task_indexes_
        ]

    @property
    def novelty_threshold(self) -> float:
        return 1 - self.config.novelty_false_alarms

    @property
    def feature_width(self) -> int:
        """What heads read of a pass, in numbers."""
        return self.backbone.width_of(self.config.pooling)

    @property
    def shown(self) -> Shown:
        """What all tasks showed, where the features are now."""
        parts = [
            (episode.index, episode.classes, episode.records, drift)
            for episode, drift in carried(self.episodes)
            if episode.records is not None
        ]
        return Shown.merged(parts, len(self.classes_), self.feature_width)

    def cross_validation(self) -> CrossValidation | None:
        if self.classes_ and self._left_out is None:
            self._read()
        return self._left_out if self._left_out and len(self._left_out.tasks) else None

    def fingerprint_of_features(self) -> str:
        digest = hashlib.sha256(f"{self.backbone.fingerprint} {self.config.pooling}".encode())
        if self.functional is not None:
            for key, tensor in sorted(adapter_state(self.functional, "").items()):
                digest.update(f"{key} {tuple(tensor.shape)}".encode())
                digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def score(self, images: Tensor) -> RawScores:
        return self.score_features(self.features_of(images), images.__getitem__)

    def features_of(self, images: Tensor) -> Tensor:
        return self._embed(images, self.functional).cpu()

    def score_features(self, features: Tensor, images_of: ImagesOf) -> RawScores:
        assert self._head is not None
        assert self.scale is not None
        answer = self._head.answer(features)
        probabilities = answer.probabilities
        logits = probabilities.clamp(min=1e-30).log()
        novelty = self.scale.novelty(answer.distances, answer.beyond_nothing)
        synapses = self._synapses
        # Of one sub-network alone the functional adapter is a copy: there is nothing to ask it.
        at_most = self.config.max_routed if len(self.subnetworks) > 1 else 0
        currents, functional = route(synapses, probabilities, at_most=at_most)
        for t, index in enumerate(self.task_indexes_):
            rows = functional[:, t].nonzero().squeeze(1)
            if len(rows):
                subnetwork = self.subnetworks[index]
                opinion = subnetwork.log_probabilities(
                    self._embed(images_of(rows), subnetwork.adapter)
                )
                probabilities[rows] = merge(probabilities[rows], opinion, subnetwork.classes)
        passes = 1 + functional.sum(dim=1)
        routes = Routes(currents, thresholds_of(synapses), functional, passes)
        return RawScores(logits, answer.distances, routes, probabilities, novelty)

    def predict_logits(self, images: Tensor) -> Tensor:
        return self.predict(images).probabilities.clamp(min=1e-30).log()

    def _learn(self, task: Task, targets: Tensor, on_progress: ProgressFn) -> dict[str, Any]:
        if self.reference is None:
            nothing = features_of_nothing(self.backbone, self.config.pooling)
            self.reference = Reference.of(self.backbone.background, nothing)
        classes, local_targets = targets.unique(return_inverse=True)
        trial = Trial(
            embed=self._embed,
            before=self.functional,
            n_moved=len(self.subnetworks),
            known=self.shown,
            reference=self._reference_now(),
            task=task,
            targets=targets,
            held_out_targets=self.targets(task.held_out_labels),
        )
        outcome = trial.run(self.backbone, self.config, on_progress)
        on_progress(Progress("consolidating", 0.3))
        record = partial(
            FeatureRecords.of,
            targets=local_targets,
            n_classes=len(classes),
            seed=derive_seed(task.seed, task.index, 3),
            trained=outcome.trained,
        )
        self.episodes.append(
            Episode(
                task.index,
                outcome.drift,
                classes,
                record(outcome.features),
                moved=outcome.own is not None,
            )
        )
        if outcome.own is not None:
            self.functional = outcome.functional
            own = record(self._embed(task.images, outcome.own))
            self.subnetworks[task.index] = SilentSubnetwork.of(
                task.index, outcome.own, classes, own
            ).with_threshold(self.config.threshold if outcome.earned else NEVER)
        on_progress(Progress("consolidating", 0.6))
        self._read()
        on_progress(Progress("consolidating", 1.0))
        return {
            "loss": outcome.loss,
            "adapter": asdict(outcome.verdict),
            "classifiers": [opinion.as_json() for opinion in self.opinions],
            "temperature": max(self.opinions, key=lambda opinion: opinion.weight).temperature,
            "n_left_out": len(self._left_out.tasks) if self._left_out else 0,
        }

    def _read(self) -> None:
        """Weigh the heads and the scale of novelty by all that is there, and build what answers."""
        shown, reference = self.shown, self._reference_now()
        prior, left_out = Prior(reference), folds(shown)
        weighed = weigh(shown, prior, left_out)
        self.opinions = weighed.opinions
        rows = torch.cat([fold.rows for fold in left_out] or [shown.targets[:0]])
        targets = shown.targets[rows]
        moved = [e.index for e, drift in carried(self.episodes) if drift is not None]
        tasks = shown.tasks[rows]
        self._left_out = CrossValidation(
            tasks,
            targets,
            weighed.answers.argmax(dim=1),
            torch.isin(tasks, torch.tensor(moved, dtype=torch.int64)),
        )
        self.scale = Scale.of(weighed.distances, weighed.beyond_nothing, balance(targets))
        self._build(shown, prior)

    def _build(self, shown: Shown, prior: Prior) -> None:
        self._head = EvidenceHead(shown, prior, self.opinions)
        self._synapses = self.synapses

    def _reference_now(self) -> Reference:
        """Return what novelty is measured against, where the features are now."""
        assert self.reference is not None
        moves = [episode.drift for episode in self.episodes if episode.drift is not None]
        reference = self.reference
        for drift in moves:
            reference = reference.carried(drift)
        return reference

    def _embed(self, images: Tensor, adapter: Adapter | None) -> Tensor:
        return self.backbone.embed(images, adapter, pooling=self.config.pooling)

    def _state_dict(self) -> dict[str, Tensor]:
        if self.reference is None or self.scale is None:
            return {}
        moved = [[episode.index, episode.moved] for episode in self.episodes]
        state = {
            "episodes": torch.tensor(moved, dtype=torch.int64).reshape(-1, 2),
            "heads": opinions_tensor(self.opinions),
            **self.reference.state_dict("reference."),
            **self.scale.state_dict("novelty."),
        }
        if self.functional is not None:
            state |= adapter_state(self.functional, "functional.")
        for episode in self.episodes:
            prefix = f"tasks.{episode.index}."
            if episode.drift is not None:
                state |= episode.drift.state_dict(f"{prefix}drift.")
            if episode.records is not None:
                state |= episode.records.state_dict(f"{prefix}records.")
                # Not below the task's prefix: unlearning another task may number the classes anew.
                state[f"classes.{episode.index}"] = episode.classes
        for subnetwork in self.subnetworks.values():
            state |= subnetwork.state_dict()
        return state

    def _load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        if not self.task_indexes_:
            return
        reader = StateReader(state, what="the episodes")
        width = self.feature_width
        self.reference = Reference.from_state(state, "reference.", width)
        self.scale = Scale.from_state(state, "novelty.")
        self.episodes = [
            self._load_episode(state, reader, index, moved=bool(moved))
            for index, moved in reader.tensor("episodes", (None, 2), torch.int64).tolist()
        ]
        self.subnetworks = {
            episode.index: SilentSubnetwork.from_state(
                state, episode.index, episode.classes, width, self._load_adapter
            )
            for episode in self.episodes
            if episode.moved and episode.records is not None
        }
        is_moved = any(episode.moved for episode in self.episodes)
        self.functional = self._load_adapter(state, "functional.") if is_moved else None
        # Now, not at the first prediction: a version takes over only once it answers at full speed.
        shown, reference = self.shown, self._reference_now()
        prior = Prior(reference)
        self.opinions = opinions_from(reader, "heads", offered(shown, prior))
        self._build(shown, prior)

    def _load_episode(
        self, state: Mapping[str, Tensor], reader: StateReader, index: int, *, moved: bool
    ) -> Episode[FeatureRecords]:
        drift = Drift.from_state(state, f"tasks.{index}.drift.")
        reader.require(
            not moved or (drift is not None and len(drift.offset) == self.feature_width),
            f"tasks.{index}.drift",
        )
        if index not in self.task_indexes_:
            return Episode(index, drift, torch.zeros(0, dtype=torch.int64), None, moved)
        n_classes = len(self.ledger.classes_of(index))
        classes = reader.tensor(f"classes.{index}", (n_classes,), torch.int64)
        in_range = bool(((classes >= 0) & (classes < len(self.classes_))).all())
        reader.require(in_range and len(classes.unique()) == n_classes, f"classes.{index}")
        records = FeatureRecords.from_state(
            state, f"tasks.{index}.records.", n_classes, self.feature_width
        )
        return Episode(index, drift, classes, records, moved)

    def _forget(self, removal: Removal, images: Sequence[Task], on_progress: ProgressFn) -> str:
        self.apply_removal(removal)
        while self.episodes[-1].index in removal.tasks:
            self._undo_newest()
        left = {episode.index for episode in self.episodes if episode.moved}
        is_undone = not {entry.task for entry in removal.entries} & left
        self.subnetworks = {
            index: subnetwork.trimmed(removal)
            for index, subnetwork in self.subnetworks.items()
            if index not in removal.tasks
        }
        self.episodes = [
            episode
            for episode in (trimmed_episode(episode, removal) for episode in self.episodes)
            if episode.moved or episode.records is not None
        ]
        self._read()
        return "" if is_undone else RESIDUE

    def _undo_newest(self) -> None:
        """Drop the newest episode, and give the functional adapter its weights from before it."""
        newest = self.episodes.pop()
        if not newest.moved:
            return
        own = self.subnetworks.pop(newest.index).adapter
        n_before = sum(episode.moved for episode in self.episodes)
        assert self.functional is not None
        self.functional = undone(self.functional, own, n_before=n_before) if n_before else None

    def _load_adapter(self, state: Mapping[str, Tensor], prefix: str) -> Adapter:
        adapter = load_adapter(
            state,
            prefix,
            width=self.backbone.feature_width,
            depth=self.backbone.depth,
            bottleneck=self.config.bottleneck,
        )
        return adapter.to(self.backbone.device)
