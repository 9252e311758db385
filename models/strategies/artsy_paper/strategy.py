"""The paper's literal method: every task adds a sub-network and a hard gate, and the gated features are summed.

    c_t = S_t( sum_{i=0..t} h_i )                 Eq. 3
    m_t = 1 if c_t >= thr_t else 0                Eq. 4
    y   = W^T l( h_0 + sum_t m_t h_t )            Eq. 5

Every image takes T + 1 passes. Kept for comparison; `artsy`, which consolidates, is better and faster.

What the paper leaves open are options of `ArtsyPaperConfig`; the defaults are the literal reading:

- `combine`. `sum`: Eq. 5. Prototypes add like features, so every route has matching ones, and `l` is l2 normalisation.
  `concat`: every branch has its own block of the classifier, and the gate switches the block:
  `y_c = cos(h_0, p_c0) + sum_t m_t cos(h_t, p_ct)`, all weighing the same. With every gate closed that is the cosine
  on h_0. How far an image is from the known ones is the mean over the blocks that are on.
- `gate_input`. `sum`: Eq. 3. `h0`: every synapse reads h_0, the reading of the paper's Fig. 2. The route is known after
  one pass and silent sub-networks take none: 1 + functional ones.
- `gates`. `frozen`: a synapse knows the tasks before its own. `reconsolidate`: after each task all are trained again
  from their first weights, each to tell Gaussian replay of its own classes from that of all others, later ones too.
- `gate_recall`. None: one threshold, 0.5. A share: the threshold at which so many of the task's held-out images fire,
  or training images where none are held out. Once later tasks have come and synapses are fitted anew, the images are
  gone, and the task's replay takes their place.

The first synapse has no negative and is functional: for ever if `frozen`, else until there is another class. Class 0
of a synapse always comes from replay, never from exemplars: this learner keeps no image. As many features are drawn as
there are of class 1, so the loss is balanced. For `sum` they scatter around the (completed) prototypes with the
covariance of the synapse's own task; for `h0` the mean of every class and their pooled covariance are true for ever,
as they are kept task by task. Not offered here: a random projection as head (`ranpac` has it), and a limit on
the sub-networks that run (`artsy` has `max_routed`).

Reference:
    Ran et al., 2024, https://arxiv.org/abs/2410.05899. Former classes get their prototypes in a new branch by EASE's
    completion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from models.adapter import Adapter, adapter_state, load_adapter
from models.backbone import Backbone
from models.calibration import COSINE_PRIOR
from models.checkpoint import NO_CHECKPOINTS, Checkpoints
from models.fitting import derive_seed
from models.head import cosine_scores
from models.ledger import Removal
from models.progress import Progress, ProgressFn
from models.statistics import ClassStatistics
from models.strategies.artsy_paper.config import ArtsyPaperConfig
from models.strategies.artsy_paper.gates import (
    Gate,
    Replay,
    SharedGaussians,
    fit_synapse,
    threshold_for,
)
from models.strategies.artsy_paper.measurement import Measurement, extend_prototypes
from models.strategies.base import Strategy
from models.strategies.subnetwork import train_subnetwork
from models.strategies.values import RawScores, Routes, Task
from models.synapse import firing, thresholds_of

FROZEN_RESIDUE = (
    "Synapses and sub-networks of tasks that stay were trained with its images, or against Gaussians around its "
    "prototypes and on sums that its sub-network was part of; they read sums without it now."
)
SUBNETWORK_RESIDUE = (
    "Sub-networks of tasks that lose a class, or share one with what goes, were trained knowing it."
)
SUM_RESIDUE = "Synapses were fitted anew, to Gaussians with the covariance of sums that its sub-network was part of."
THRESHOLD_RESIDUE = (
    "Thresholds of synapses that were fitted anew were set on replay, as held-out images are gone."
)


class ArtsyPaper(Strategy[ArtsyPaperConfig]):
    """T sub-networks, T MLP synapses, summed features, cosine prototypes."""

    name = "artsy_paper"
    summary = (
        "Silent and functional synapses to the letter of the paper: a sub-network and a trained gate a task, "
        "T + 1 passes an image. For comparison."
    )
    unlearning = "partial"
    is_one_graph = False
    config_type = ArtsyPaperConfig
    prior = COSINE_PRIOR

    def __init__(self, backbone: Backbone, config: ArtsyPaperConfig) -> None:
        super().__init__(backbone, config)
        self.adapters: list[Adapter] = []
        self.gates: list[Gate] = []
        self.measurements: list[Measurement] = []
        self.prototypes = torch.zeros(1, 0, backbone.feature_width)
        """Mean feature of every class in every branch, `(T + 1, K, D)`; branch 0 is the frozen backbone. What the
        measurements give one after the other; kept up, not stored, like the counts."""
        self.counts = torch.zeros(0)

    @property
    def synapse_tasks_(self) -> tuple[int, ...]:
        return self.task_indexes_

    @property
    def synapses(self) -> list[Gate]:
        """The synapse of each task as it decides now. One that never saw a negative is functional, whatever it says."""
        if self.config.gates == "frozen":
            is_open = [t == 0 for t in range(len(self.gates))]
        else:
            is_open = [not self._others(t) for t in range(len(self.gates))]
        return [
            replace(gate, threshold=0.0) if always else gate
            for gate, always in zip(self.gates, is_open, strict=True)
        ]

    def _learn(self, task: Task, targets: Tensor, on_progress: ProgressFn) -> dict[str, Any]:
        adapter, loss = train_subnetwork(
            self.backbone,
            task,
            targets,
            bottleneck=self.config.bottleneck,
            schedule=self.config.schedule,
            on_progress=on_progress,
        )
        on_progress(Progress("consolidating", 0.0))
        self.adapters.append(adapter)
        branches = self._embed(task.images)
        inputs = branches[0] if self.config.gate_input == "h0" else branches.sum(dim=0)
        seed = derive_seed(task.seed, task.index, 3)
        keeps = self.config.replays_inputs
        replay = Replay.of(inputs, targets, seed=seed) if keeps else None
        measurement = Measurement.of(branches, targets, replay)
        self.measurements.append(measurement)
        self._extend_prototypes(measurement)
        on_progress(Progress("consolidating", 0.5))
        images, image_targets = self.calibration_set(task)
        is_frozen = self.config.gates == "frozen"
        if is_frozen:
            synapse_loss = self._add_gate(inputs, targets, seed, task.checkpoints)
        else:
            synapse_loss = self._refit_gates(task.checkpoints)
        self._measure_threshold(images)
        raw = self.score(images)
        self.calibration.add(raw.logits, image_targets, raw.distances, task=task.index)
        on_progress(Progress("consolidating", 1.0))
        return {"loss": loss, "synapse_loss": synapse_loss}

    def _state_dict(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = {}
        for index, adapter, gate, measurement in zip(
            self.task_indexes_, self.adapters, self.gates, self.measurements, strict=True
        ):
            state |= adapter_state(adapter, f"tasks.{index}.adapter.")
            state |= gate.state_dict(self.config, index)
            state |= measurement.state_dict(index)
        return state

    def _load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        D, task_indexes = self.backbone.feature_width, self.task_indexes_
        self.adapters = [
            load_adapter(
                state,
                f"tasks.{index}.adapter.",
                width=D,
                depth=self.backbone.depth,
                bottleneck=self.config.bottleneck,
            ).to(self.backbone.device)
            for index in task_indexes
        ]
        self.gates = [Gate.from_state(state, self.config, index, D) for index in task_indexes]
        self.measurements = [
            Measurement.from_state(
                state, index, shape=(n_branches, D), has_replay=self.config.replays_inputs
            )
            for n_branches, index in enumerate(task_indexes, start=2)
        ]
        self._rebuild_prototypes()

    def _forget(self, removal: Removal, images: Sequence[Task], on_progress: ProgressFn) -> str:
        before = self.task_indexes_
        self.apply_removal(removal)
        kept = [index not in removal.tasks for index in before]
        branches = torch.tensor([True, *kept])
        self.measurements = [
            measurement.trimmed(removal, branches)
            for measurement, is_kept in zip(self.measurements, kept, strict=True)
            if is_kept
        ]
        self.adapters = [a for a, is_kept in zip(self.adapters, kept, strict=True) if is_kept]
        changed = min(before.index(entry.task) for entry in removal.entries)
        self.gates = [g for g, is_kept in zip(self.gates, kept, strict=True) if is_kept]
        self._rebuild_prototypes()
        if self.config.gates == "reconsolidate":
            # From there on, synapses are no longer those that images were measured with.
            self.gates[changed:] = [replace(gate, measured=None) for gate in self.gates[changed:]]
            self._refit_gates(NO_CHECKPOINTS)
        return "" if removal.is_latest else self._residue(removal)

    def _residue(self, removal: Removal) -> str:
        if self.config.gates == "frozen":
            return FROZEN_RESIDUE
        entries = removal.entries
        is_whole = {entry.task for entry in entries} <= {*removal.tasks}
        is_shared = bool((removal.renumbered[[entry.target for entry in entries]] >= 0).any())
        traces = {
            SUBNETWORK_RESIDUE: is_shared or not is_whole,
            SUM_RESIDUE: self.config.gate_input == "sum",
            THRESHOLD_RESIDUE: self.config.gate_recall is not None,
        }
        return " ".join(sentence for sentence, is_so in traces.items() if is_so)

    def _rebuild_prototypes(self) -> None:
        """Build the prototypes from the measurements, as learning the tasks one by one does."""
        self.prototypes = torch.zeros(1, 0, self.backbone.feature_width)
        self.counts = torch.zeros(0)
        for measurement in self.measurements:
            self._extend_prototypes(measurement)

    def _extend_prototypes(self, measurement: Measurement) -> None:
        self.prototypes, self.counts = extend_prototypes(self.prototypes, self.counts, measurement)

    def _embed(self, images: Tensor) -> Tensor:
        """Return the features of every branch, `(T + 1, B, D)`, on the CPU."""
        branches: list[Adapter | None] = [None, *self.adapters]
        return torch.stack([self.backbone.embed(images, branch).cpu() for branch in branches])

    def score(self, images: Tensor) -> RawScores:
        """Decide the routes, take the passes they need, and score by cosines, or their sums over blocks that are on."""
        return self._score(images, None)

    def score_routed(self, images: Tensor, functional: Tensor) -> RawScores:
        return self._score(images, functional)

    def _score(self, images: Tensor, routed: Tensor | None) -> RawScores:
        """Score images; `routed` says which synapses are functional, bool `(B, T)`, if not they."""
        synapses = self.synapses
        if self.config.gate_input == "sum":
            branches = self._embed(images)
            currents = self._currents(branches.cumsum(dim=0)[1:])
            functional = firing(synapses, currents) if routed is None else routed
            passes = torch.full((len(images),), len(branches))
        else:
            frozen = self.backbone.embed(images).cpu()
            currents = self._currents(frozen.expand(len(self.gates), *frozen.shape))
            functional = firing(synapses, currents) if routed is None else routed
            branches = torch.zeros(len(self.gates) + 1, *frozen.shape)
            branches[0] = frozen
            for t, adapter in enumerate(self.adapters):
                rows = functional[:, t].nonzero().squeeze(1)
                if len(rows):
                    branches[t + 1, rows] = self.backbone.embed(images[rows], adapter).cpu()
            passes = 1 + functional.sum(dim=1)
        is_open = torch.cat([torch.ones(len(images), 1), functional.float()], dim=1)
        if self.config.combine == "sum":
            scores = self._sum_scores(branches, is_open)
            nearest = scores.amax(dim=1)
        else:
            blocks = zip(is_open.T, branches, self.prototypes, strict=True)
            cosines = [on.unsqueeze(1) * cosine_scores(f, p) for on, f, p in blocks]
            scores = torch.stack(cosines).sum(dim=0)
            nearest = scores.amax(dim=1) / is_open.sum(dim=1)
        routes = Routes(currents, thresholds_of(synapses), functional, passes)
        return RawScores(scores, (1 - nearest).clamp(min=0), routes)

    def _currents(self, inputs: Tensor) -> Tensor:
        """Return the current `(B, T)` of each synapse on what it reads, `(T, B, D)`."""
        return torch.stack(
            [gate.network.current(x) for gate, x in zip(self.gates, inputs, strict=True)], dim=1
        )

    def _sum_scores(self, branches: Tensor, is_open: Tensor) -> Tensor:
        """Return cosines `(B, K)` of features `(T + 1, B, D)`, summed over open branches, with matching prototypes."""
        features = torch.einsum("bt,tbd->bd", is_open, branches)
        scores = torch.empty(len(features), self.prototypes.shape[1])
        for route in is_open.unique(dim=0):
            rows = (is_open == route).all(dim=1)
            prototypes = torch.einsum("t,tkd->kd", route, self.prototypes)
            scores[rows] = cosine_scores(features[rows], prototypes)
        return scores

    def _add_gate(
        self, own: Tensor, targets: Tensor, seed: int, checkpoints: Checkpoints
    ) -> float | None:
        """Train the newest task's synapse on what it reads of the images, `(N, D)`, against replay of former classes.

        Returns:
            The last epoch's mean loss; None for the first task, which has nothing to be told from.
        """
        t = len(self.gates)
        if self.config.gate_input == "h0":
            others = self._shared_gaussians(t, self._others(t), self._frozen_statistics())
        else:
            classes, local_targets = targets.unique(return_inverse=True)
            statistics = ClassStatistics.of(own, local_targets, len(classes))
            others = SharedGaussians(self._sums(t)[self._others(t)], statistics.covariance)
        network, _, loss = fit_synapse(
            own, others, len(own), self.config, seed=seed, checkpoints=checkpoints
        )
        self.gates.append(Gate(self.config.threshold, network))
        return loss

    def _refit_gates(self, checkpoints: Checkpoints) -> float | None:
        """Train every synapse from its first weights on replay alone, and set its threshold by what it was trained on.

        A function of what is kept, so it follows unlearning too.

        Returns:
            The last epoch's mean loss of the newest synapse; None where there is nothing to be told from.
        """
        measured = [gate.measured for gate in self.gates]
        measured += [None] * (len(self.measurements) - len(measured))
        frozen = self._frozen_statistics()
        self.gates, loss = [], None
        for t, measurement in enumerate(self.measurements):
            assert measurement.replay is not None
            others = self._others(t)
            own = [k for k in range(len(self.counts)) if k not in others]
            n = max(int(measurement.counts.sum()), len(others))
            network, positives, loss = fit_synapse(
                self._shared_gaussians(t, own, frozen),
                self._shared_gaussians(t, others, frozen),
                n,
                self.config,
                seed=measurement.replay.seed,
                checkpoints=checkpoints,
            )
            threshold = threshold_for(network.current(positives), self.config)
            self.gates.append(Gate(threshold, network, measured[t]))
        newest = self.gates[-1]
        if newest.measured is not None:
            self.gates[-1] = replace(newest, threshold=newest.measured)
        return loss

    def _measure_threshold(self, images: Tensor) -> None:
        """Set the newest synapse's threshold by its own task's images, not seen in training where there are such."""
        if self.config.gate_recall is None:
            return
        if self.config.gate_input == "h0":
            inputs = self.backbone.embed(images).cpu()
        else:
            inputs = self._embed(images).cumsum(dim=0)[-1]
        threshold = threshold_for(self.gates[-1].network.current(inputs), self.config)
        measured = threshold if self.config.gates == "reconsolidate" else None
        self.gates[-1] = replace(self.gates[-1], threshold=threshold, measured=measured)

    def _others(self, t: int) -> list[int]:
        """Return the classes that synapse `t` is to tell its own from: all known ones that its task did not bring."""
        own = set(self.measurements[t].classes.tolist())
        return [k for k in range(len(self.counts)) if k not in own]

    def _sums(self, t: int) -> Tensor:
        """Return every class's prototype as synapse `t` reads it if it reads sums, `(K, D)`."""
        return self.prototypes[: t + 2].sum(dim=0)

    def _frozen_statistics(self) -> ClassStatistics:
        """Return the statistics of h_0 over all tasks, exact; of no image where synapses read sums."""
        statistics = ClassStatistics.empty(self.backbone.feature_width)
        if self.config.gate_input == "h0":
            for measurement in self.measurements:
                assert measurement.replay is not None
                statistics.merge(measurement.replay.records, measurement.classes, len(self.counts))
        return statistics

    def _shared_gaussians(
        self, t: int, classes: list[int], frozen: ClassStatistics
    ) -> SharedGaussians:
        """Return where to draw some classes from as synapse `t` reads them, by what is kept alone."""
        if self.config.gate_input == "h0":
            return SharedGaussians(frozen.means[classes].float(), frozen.covariance)
        replay = self.measurements[t].replay
        assert replay is not None
        return SharedGaussians(self._sums(t)[classes], replay.records.gaussians().covariance)
