"""Artsy, the default: learned at once, consolidated later; heads that follow the evidence; silent sub-networks.

One functional adapter, always functional, turns images into features; until a sub-network has earned its place these
are the frozen backbone's own. Closed-form heads read them, each weighted by what it answers to kept rows of features
that are left out in turn (`models.evidence`), over all classes and anew after every task. So the answer follows the
images there are, from one a class to thousands, and a task is learned by looking at its images once.

Its images shape the features later. A consolidation trains one sub-network on the images of all tasks that wait, and
images that the training never saw judge it, with the rows of old classes (`trial.py`). If the answer gets better the
functional adapter moves to the mean of all such sub-networks, and the rows of other classes follow by a drift fitted on
these images alone: no older image is needed. The sub-network stays behind the synapses of its tasks
(`models.evidence_synapse`). A synapse's current is evidence times uncertainty: the probability that the image belongs
to the task, times the probability that the answer is wrong. Where that reaches the threshold, the sub-network takes one
more pass and its opinion on the task's classes is merged in.

What is stored are episodes: what each task showed, class by class, and how far each consolidation moved the features.
A task or class can be taken out of them as if it had never come. The functional adapter is given back its weights from
before where the newest consolidation goes with it, whose other tasks wait for another one then; where an older one was
trained by what goes, the trace in the weights stays.

Reference:
    Ran et al., 2024, https://arxiv.org/abs/2410.05899. The literal method is `artsy_paper`; why this differs is in
    docs/decisions/0005-default-artsy-is-consolidated.md, 0032-few-images.md and 0033-learn-at-once.md.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from models.adapter import Adapter, adapter_state, load_adapter
from models.backbone import Backbone
from models.checkpoint import Checkpoints
from models.closed_form import offered
from models.consolidation import RELABELLED_RESIDUE, RESIDUE
from models.correcting import Change
from models.evidence import (
    EvidenceHead,
    Opinion,
    balance,
    folds,
    opinions_from,
    opinions_tensor,
    weigh,
)
from models.evidence_synapse import NEVER, EvidenceSynapse, EvidenceSynapses
from models.fitting import derive_seed
from models.insights import ImageInsights, look_into
from models.joined_heads import JoinedHeads, joined
from models.leave_one_out import LeaveOneOut
from models.ledger import Ledger, Removal
from models.merging import merge
from models.nothing import features_of_nothing
from models.novelty import Scale
from models.progress import Progress, ProgressFn
from models.reference import Prior, Reference
from models.shown import FeatureRecords, KeptRows, Shown
from models.state import StateReader
from models.strategies.account import HeadSays
from models.strategies.artsy.config import ArtsyConfig
from models.strategies.artsy.history import History
from models.strategies.artsy.silent import SilentSubnetwork
from models.strategies.artsy.trial import Shots, Trial
from models.strategies.base import ImagesOf, Strategy
from models.strategies.values import CrossValidation, LeftOut, RawScores, Routes, Task


class Artsy(Strategy[ArtsyConfig]):
    """One functional adapter read by heads that follow the evidence, plus silent sub-networks."""

    name = "artsy"
    summary = (
        "Answers new classes at once with classifiers that follow the evidence; in the quiet, trains on their images "
        "and keeps what helps, with silent sub-networks that fire where the answer is uncertain. The default, from the "
        "first image on; needs no old image."
    )
    unlearning = "partial"
    corrects = True
    looks_into_images = True
    cross_validates = True
    consolidates = True
    reads_features = True
    config_type = ArtsyConfig
    current_below = NEVER

    def __init__(self, backbone: Backbone, config: ArtsyConfig) -> None:
        super().__init__(backbone, config)
        self.history = History(self.feature_width)
        self.reference: Reference | None = None
        """Of the frozen features. None before the first task."""
        self.opinions: list[Opinion] = []
        self.scale: Scale | None = None
        self._head: EvidenceHead | JoinedHeads | None = None
        """None until answers need it."""
        self._material: tuple[Shown, Prior] | None = None
        """What learning or a reload has unfolded already, until the head is built of it."""
        self._synapses: EvidenceSynapses | None = None
        self._routed: list[tuple[Tensor, list[SilentSubnetwork]]] = []
        """Of each consolidation the columns of the synapses of its tasks, int64 `(C,)`, and what lies behind them."""
        self._left_out: CrossValidation | None = None
        """What was answered to the rows left out. None until it is asked for, after a reload."""

    @property
    def synapse_tasks_(self) -> tuple[int, ...]:
        return self.task_indexes_

    @property
    def unconsolidated_(self) -> tuple[int, ...]:
        if self.config.adapt == "never":
            return ()
        return self.history.unconsolidated

    @property
    def functional(self) -> Adapter | None:
        """The functional adapter; None while the features are the backbone's own."""
        return self.history.functional

    @property
    def subnetworks(self) -> dict[int, SilentSubnetwork]:
        """What lies behind the synapses of tasks, by index: of those that trained a sub-network that was adopted."""
        return {i: each for group in self.history.subnetworks for i, each in group.items()}

    @property
    def synapses(self) -> list[EvidenceSynapse]:
        """The synapse of each task; one without a sub-network never fires."""
        subnetworks = self.subnetworks
        return [
            subnetworks[index].synapse
            if index in subnetworks
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
        return self.history.shown(len(self.classes_))

    def prepare(self) -> None:
        self._build()
        if isinstance(self._head, EvidenceHead):
            self._head = joined(self._head)

    def fingerprint_of_features(self) -> str:
        digest = hashlib.sha256(f"{self.backbone.fingerprint} {self.config.pooling}".encode())
        if self.functional is not None:
            for key, tensor in sorted(adapter_state(self.functional, "").items()):
                digest.update(f"{key} {tuple(tensor.shape)}".encode())
                digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def cross_validation(self) -> CrossValidation | None:
        if self.classes_ and self._left_out is None:
            self._read()
        return self._left_out if self._left_out and len(self._left_out.tasks) else None

    def look_into_images(self) -> tuple[ImageInsights, list[KeptRows]]:
        shown, prior = self.shown, self._prior()
        assert self.scale is not None
        without = LeaveOneOut(shown, prior, self.opinions)
        return look_into(shown, without, self.scale, prior.centre), self.history.kept_rows()

    def left_out(self) -> LeftOut | None:
        if not self.classes_:
            return None
        shown, prior = self.shown, self._prior()
        dealt = folds(shown)
        if not dealt or len(shown.counts) < 2:
            return None
        scores, answers = weigh(shown, prior, dealt).answers.max(dim=1)
        rows = torch.cat([fold.rows for fold in dealt])
        return LeftOut(
            shown.rows[rows].float(), shown.tasks[rows], shown.targets[rows], answers, scores
        )

    def score(self, images: Tensor) -> RawScores:
        self.prepare()

        def images_of(rows: Tensor) -> Tensor:
            return images if len(rows) == len(images) else images[rows]

        return self.score_features(self.features_of(images), images_of)

    def score_unrouted(self, images: Tensor) -> RawScores:
        self.prepare()
        probabilities, novelty, distances = self._functional_answer(self.features_of(images))
        assert self._synapses is not None
        fires = self._synapses.would_fire(probabilities, at_most=self._at_most())
        routes = Routes(*fires, torch.ones(len(probabilities), dtype=torch.int64))
        logits = probabilities.clamp(min=1e-30).log()
        return RawScores(logits, distances, routes, probabilities, novelty)

    def features_of(self, images: Tensor) -> Tensor:
        return self.backbone.embed(images, self.functional, pooling=self.config.pooling).cpu()

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        adapters = [self.functional] if self.functional is None else [self.functional, None]
        looks = self.backbone.embed_each(images, adapters, pooling=self.config.pooling)
        # What the backbone's own head reads comes first.
        return looks[0].cpu(), looks[-1][:, : self.backbone.feature_width].cpu()

    def score_routed(self, images: Tensor, functional: Tensor) -> RawScores:
        self.prepare()
        return self._score(self.features_of(images), lambda rows: images[rows], functional)

    def heads_say(self, images: Tensor) -> list[HeadSays]:
        self.prepare()
        assert self._head is not None
        return [
            HeadSays(opinion.candidate.name, opinion.weight, probabilities[0])
            for opinion, probabilities in self._head.each(self.features_of(images))
        ]

    def score_features(self, features: Tensor, images_of: ImagesOf) -> RawScores:
        return self._score(features, images_of, None)

    def _score(self, features: Tensor, images_of: ImagesOf, routed: Tensor | None) -> RawScores:
        """Score images by their features; `routed` says which synapses are functional, bool `(B, T)`, if not they."""
        probabilities, novelty, distances = self._functional_answer(features)
        logits = probabilities.clamp(min=1e-30).log()
        assert self._synapses is not None
        currents, thresholds, functional = self._synapses.route(
            probabilities, at_most=self._at_most()
        )
        functional = functional if routed is None else routed
        passes = torch.ones(len(features), dtype=torch.int64)
        unrouted = probabilities.clone()
        fired = self._fired(functional)
        looks = [(images_of(rows), subnetworks[0].adapter) for rows, _, subnetworks in fired]
        owns = self.backbone.embed_own(looks, pooling=self.config.pooling)
        for own, (rows, fires, subnetworks) in zip(owns, fired, strict=True):
            passes[rows] += 1
            for subnetwork, mine in zip(subnetworks, fires.unbind(dim=1), strict=True):
                opinion = subnetwork.opinion(own[mine])
                asked = rows[mine]
                probabilities[asked] = merge(probabilities[asked], opinion, subnetwork.classes)
        routes = Routes(currents, thresholds, functional, passes)
        return RawScores(logits, distances, routes, probabilities, novelty, unrouted, features)

    def _fired(self, functional: Tensor) -> list[tuple[Tensor, Tensor, list[SilentSubnetwork]]]:
        """Return the passes that synapses lead to, one for each sub-network.

        Each comes as the rows it is of, int64 `(R,)`, which of its tasks' synapses fired for them, bool `(R, tasks)`,
        and what these lead to.
        """
        if not functional.any():
            return []
        found = []
        for columns, subnetworks in self._routed:
            rows = functional[:, columns].any(dim=1).nonzero().squeeze(1)
            if len(rows):
                found.append((rows, functional[rows][:, columns], subnetworks))
        return found

    def _functional_answer(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return probabilities `(B, K)`, novelty `(B,)` and distances `(B,)` by the functional adapter's features."""
        self._build()
        assert self._head is not None
        assert self.scale is not None
        answer = self._head.answer(features)
        novelty = self.scale.novelty(answer.distances, answer.beyond_nothing)
        return answer.probabilities, novelty, answer.distances

    def predict_logits(self, images: Tensor) -> Tensor:
        return self.predict(images).probabilities.clamp(min=1e-30).log()

    def _at_most(self) -> int:
        """Return how many sub-networks may be asked about an image."""
        # Of one sub-network alone the functional adapter is a copy: there is nothing to ask it.
        return self.config.max_routed if len(self.history.subnetworks) > 1 else 0

    def _by_column(self) -> list[tuple[Tensor, list[SilentSubnetwork]]]:
        columns = {index: t for t, index in enumerate(self.task_indexes_)}
        return [
            (torch.tensor([columns[index] for index in group]), list(group.values()))
            for group in self.history.subnetworks
        ]

    def _learn(self, task: Task, targets: Tensor, on_progress: ProgressFn) -> dict[str, Any]:
        if self.reference is None:
            nothing = features_of_nothing(self.backbone, self.config.pooling)
            self.reference = Reference.of(self.backbone.background, nothing)
        classes, local_targets = targets.unique(return_inverse=True)
        on_progress(Progress("training", 0.0))
        features = task.features(self.fingerprint_of_features())
        if features is None:
            features = self.features_of(task.images)
        on_progress(Progress("training", 1.0))
        records = FeatureRecords.of(
            features,
            local_targets,
            n_classes=len(classes),
            seed=derive_seed(task.seed, task.index, 3),
        )
        self.history.add_task(task.index, classes, records)
        on_progress(Progress("consolidating", 0.3))
        self._read()
        on_progress(Progress("consolidating", 1.0))
        return self._details()

    def _consolidate(
        self,
        tasks: Sequence[Task],
        seed: int,
        checkpoints: Checkpoints,
        on_progress: ProgressFn,
    ) -> tuple[bool, str, dict[str, Any]]:
        shots = Shots.of(tasks, self.targets)
        trial = Trial(
            backbone=self.backbone,
            config=self.config,
            before=self.functional,
            n_moved=self.history.n_moved,
            known=self.history.shown(len(self.classes_), without=[task.index for task in tasks]),
            reference=self._reference_now(),
            shots=shots,
            seed=seed,
            checkpoints=checkpoints,
        )
        outcome = trial.run(on_progress)
        details = {"loss": outcome.loss, **asdict(outcome.verdict)}
        if outcome.move is None:
            return False, outcome.verdict.reason, details
        on_progress(Progress("consolidating", 0.3))
        self.history.add_consolidation(tasks, shots, outcome.move, threshold=self.config.threshold)
        on_progress(Progress("consolidating", 0.6))
        self._read()
        on_progress(Progress("consolidating", 1.0))
        return True, outcome.verdict.reason, details | self._details()

    def _details(self) -> dict[str, Any]:
        """Return what a report tells of the heads."""
        return {
            "classifiers": [opinion.as_json() for opinion in self.opinions],
            "temperature": max(self.opinions, key=lambda opinion: opinion.weight).temperature,
            "n_left_out": len(self._left_out.tasks) if self._left_out else 0,
        }

    def _read(self) -> None:
        """Weigh the heads and the scale of novelty by all that is there; what answers is built when it is needed."""
        shown, prior = self.shown, self._prior()
        left_out = folds(shown)
        weighed = weigh(shown, prior, left_out)
        self.opinions = weighed.opinions
        rows = torch.cat([fold.rows for fold in left_out] or [shown.targets[:0]])
        targets = shown.targets[rows]
        tasks = shown.tasks[rows]
        self._left_out = CrossValidation(
            tasks,
            targets,
            weighed.answers.argmax(dim=1),
            torch.isin(tasks, torch.tensor(self.history.carried_tasks, dtype=torch.int64)),
        )
        self.scale = Scale.of(weighed.distances, weighed.beyond_nothing, balance(targets))
        self._head, self._material = None, (shown, prior)

    def _build(self) -> None:
        """Build the heads if they are not there. Joined they would answer sooner, but joining takes as long again."""
        if self._head is not None or not self.classes_:
            return
        shown, prior = self._material or (self.shown, self._prior())
        self._head, self._material = EvidenceHead(shown, prior, self.opinions), None
        self._synapses, self._routed = EvidenceSynapses(self.synapses), self._by_column()

    def _prior(self) -> Prior:
        return Prior(self._reference_now())

    def _reference_now(self) -> Reference:
        """Return what novelty is measured against, where the features are now."""
        assert self.reference is not None
        return self.history.carry(self.reference)

    def _state_dict(self) -> dict[str, Tensor]:
        if self.reference is None or self.scale is None:
            return {}
        return {
            "heads": opinions_tensor(self.opinions),
            **self.reference.state_dict("reference."),
            **self.scale.state_dict("novelty."),
            **self.history.state_dict(),
        }

    def _load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        if not self.task_indexes_:
            return
        width = self.feature_width
        self.reference = Reference.from_state(state, "reference.", width)
        self.scale = Scale.from_state(state, "novelty.")
        self.history = History.from_state(state, self.ledger, width, self._load_adapter)
        self._head, self._material = None, (self.shown, self._prior())
        reader = StateReader(state, what="the classifiers")
        self.opinions = opinions_from(reader, "heads", offered(*self._material))

    def _go_on_from(self, known: Strategy[Any]) -> None:
        assert isinstance(known, Artsy)
        # What is kept of a task or a consolidation is replaced where it changes, and never changed.
        self.ledger, self.history = known.ledger, known.history.copy()
        self.calibration.load_state_dict(known.calibration.state_dict(""), "")
        self.reference, self.scale = known.reference, known.scale
        self.opinions = list(known.opinions)

    def _forget(self, removal: Removal, images: Sequence[Task], on_progress: ProgressFn) -> str:
        self.apply_removal(removal)
        is_traced = self.history.forget(removal)
        self._read()
        return RESIDUE if is_traced else ""

    def _correct(
        self,
        changes: Sequence[Change],
        images: Sequence[Tensor],
        ledger: Ledger,
        on_progress: ProgressFn,
    ) -> str:
        def look(of_task: Tensor, adapters: Sequence[Adapter | None]) -> list[Tensor]:
            return self.backbone.embed_each(of_task, adapters, pooling=self.config.pooling)

        is_traced = self.history.correct(changes, images, look)
        on_progress(Progress("consolidating", 0.5))
        self._read()
        on_progress(Progress("consolidating", 1.0))
        return RELABELLED_RESIDUE if is_traced else ""

    def _load_adapter(self, state: Mapping[str, Tensor], prefix: str) -> Adapter:
        adapter = load_adapter(
            state,
            prefix,
            width=self.backbone.feature_width,
            depth=self.backbone.depth,
            bottleneck=self.config.bottleneck,
        )
        return adapter.to(self.backbone.device)
