"""The default form: one consolidated functional adapter, and silent sub-networks that fire where it is unsure.

After each task the functional adapter moves to the running mean of all tasks' sub-networks: a synapse that is always
functional, slowly carrying what every task taught. The statistics of old classes follow the features as they drift,
estimated on the new task's images alone, so no old image is needed. One plain pass answers most images.

Each task also keeps its own sub-network, silent behind its synapse. Its current is evidence times uncertainty: the
probability that the image belongs to the task, times the probability that the answer is wrong. Where that reaches the
threshold, the sub-network takes one more pass and its opinion on its own classes is merged in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from models.adapter import Adapter, adapter_state, load_adapter
from models.backbone import Backbone
from models.calibration import GAUSSIAN_PRIOR, Calibration, fit_temperature
from models.errors import CheckpointError
from models.head import GaussianHead, cross_validated_distances
from models.progress import Progress, ProgressFn
from models.statistics import ClassStatistics, Drift
from models.strategies.artsy.config import ArtsyConfig
from models.strategies.artsy.form import Form
from models.strategies.base import Prediction, Task

NEVER = 1.0
"""Threshold of a synapse that has not earned its pass: a current stays below 1."""


@dataclass(frozen=True)
class SilentSubnetwork:
    """A task's own sub-network behind its synapse, with the closed-form head that reads it."""

    index: int
    adapter: Adapter
    classes: Tensor
    """Indexes of the classes it can tell apart, int64 `(C,)`."""
    statistics: ClassStatistics
    """Of its own features, classes in the order of `classes`."""
    temperature: float
    threshold: float
    head: GaussianHead

    def log_probabilities(self, features: Tensor) -> Tensor:
        """Return log-probabilities among its own classes, `(B, C)`, for its own features `(B, D)`."""
        return F.log_softmax(self.head.logits(features) / self.temperature, dim=-1)


class ConsolidatedForm(Form):
    """One functional adapter with drift-corrected statistics, plus silent sub-networks."""

    def __init__(self, backbone: Backbone, config: ArtsyConfig) -> None:
        super().__init__(backbone, config)
        self.functional: Adapter | None = None
        self.statistics = ClassStatistics.empty(backbone.feature_width)
        self.calibration = Calibration(prior=GAUSSIAN_PRIOR)
        self.subnetworks: list[SilentSubnetwork] = []
        self._head: GaussianHead | None = None

    @property
    def head(self) -> GaussianHead:
        """The classifier of the functional features, rebuilt after every change of the statistics."""
        if self._head is None:
            self._head = GaussianHead(self.statistics, shrinkage=self.config.shrinkage)
        return self._head

    def learn(
        self,
        task: Task,
        targets: Tensor,
        held_out: tuple[Tensor, Tensor],
        on_progress: ProgressFn,
    ) -> dict[str, Any]:
        before = self.functional
        own = self.fresh_adapter(task) if before is None else before.clone()
        loss = self.train_subnetwork(own, task, targets, on_progress)
        on_progress(Progress("consolidating", 0.0))
        features, drift = self._consolidate(before, own, task)
        held_out_logits = self._calibrate(features, targets, held_out)
        on_progress(Progress("consolidating", 0.5))
        subnetwork = self._silence(own, task, targets, held_out, held_out_logits)
        self.subnetworks.append(subnetwork)
        on_progress(Progress("consolidating", 1.0))
        return {
            "loss": loss,
            "drift": drift,
            "temperature": self.calibration.temperature.value,
            "threshold": subnetwork.threshold,
        }

    def predict(self, images: Tensor) -> Prediction:
        distances = self.head.squared_distances(self.backbone.embed(images, self.functional))
        probabilities = self.calibration.probabilities(-0.5 * distances)
        currents, functional = self._fire(probabilities)
        for t, subnetwork in enumerate(self.subnetworks):
            rows = functional[:, t].nonzero().squeeze(1)
            if len(rows):
                features = self.backbone.embed(images[rows], subnetwork.adapter)
                opinion = subnetwork.log_probabilities(features)
                probabilities[rows] = merge(probabilities[rows], opinion, subnetwork.classes)
        return Prediction(
            probabilities=probabilities,
            novelty=self.calibration.familiarity.novelty(distances.amin(dim=1)),
            currents=currents,
            thresholds=torch.tensor([subnetwork.threshold for subnetwork in self.subnetworks]),
            functional=functional,
            passes=1 + functional.sum(dim=1),
        )

    def state_dict(self) -> dict[str, Tensor]:
        state = self.statistics.state_dict("statistics.")
        state |= self.calibration.state_dict("calibration.")
        if self.functional is not None:
            state |= adapter_state(self.functional, "functional.")
        for subnetwork in self.subnetworks:
            prefix = f"tasks.{subnetwork.index}."
            state |= adapter_state(subnetwork.adapter, f"{prefix}adapter.")
            state |= subnetwork.statistics.state_dict(f"{prefix}statistics.")
            state[f"{prefix}classes"] = subnetwork.classes
            state[f"{prefix}synapse"] = torch.tensor(
                [subnetwork.temperature, subnetwork.threshold], dtype=torch.float64
            )
        return state

    def load_state_dict(self, state: Mapping[str, Tensor], task_indexes: tuple[int, ...]) -> None:
        self.statistics = ClassStatistics.from_state(state, "statistics.")
        self.calibration.load_state_dict(state, "calibration.")
        self.functional = self._load_adapter(state, "functional.") if task_indexes else None
        self.subnetworks = [self._load_subnetwork(state, index) for index in task_indexes]
        self._head = None

    def _consolidate(
        self, before: Adapter | None, own: Adapter, task: Task
    ) -> tuple[Tensor, float]:
        """Move the functional adapter by its share of the new one, and let the old classes' statistics follow.

        Returns:
            The task's features under the new functional adapter, `(N, D)`, and the mean length of their move
            relative to their own; 0 for the first task.
        """
        if before is None:
            self.functional = own.clone().freeze()
            return self.backbone.embed(task.images, self.functional), 0.0
        old_features = self.backbone.embed(task.images, before)
        self.functional = before.clone()
        self.functional.consolidate(own, weight=1 / (len(self.subnetworks) + 1))
        self.functional.freeze()
        features = self.backbone.embed(task.images, self.functional)
        self.statistics.transport(Drift.fit(old_features, features))
        lengths = (features - old_features).norm(dim=1) / old_features.norm(dim=1)
        return features, float(lengths.mean())

    def _calibrate(
        self, features: Tensor, targets: Tensor, held_out: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Add the task's statistics, and learn how sure to be from images that those statistics did not see.

        That is the held-out images, and the training images by cross-validation: few held-out images alone would take a
        head that was never wrong on them at its word.

        Returns:
            Functional logits of the held-out images, `(E, K)`.
        """
        shrinkage = self.config.shrinkage
        crossed, crossed_targets = cross_validated_distances(
            self.statistics, features.cpu(), targets, shrinkage=shrinkage
        )
        n_classes = max(len(self.statistics.counts), int(targets.max()) + 1)
        self.statistics.add(features, targets, n_classes)
        self._head = None
        images, image_targets = held_out
        fresh = self.head.squared_distances(self.backbone.embed(images, self.functional))
        distances = torch.cat([fresh, crossed])
        all_targets = torch.cat([image_targets, crossed_targets])
        self.calibration.add(-0.5 * distances, all_targets, distances.amin(dim=1))
        return -0.5 * fresh

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
        classes, local_targets = targets.unique(return_inverse=True)
        shrinkage = self.config.shrinkage
        features = self.backbone.embed(task.images, own).cpu()
        crossed, crossed_local = cross_validated_distances(
            ClassStatistics.empty(features.shape[1]), features, local_targets, shrinkage=shrinkage
        )
        statistics = ClassStatistics.of(features, local_targets, len(classes))
        head = GaussianHead(statistics, shrinkage=shrinkage)
        images, image_targets = held_out
        local = torch.searchsorted(classes, image_targets)
        own_logits = head.logits(self.backbone.embed(images, own))
        temperature = fit_temperature(
            torch.cat([own_logits, -0.5 * crossed]),
            torch.cat([local, crossed_local]),
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
            statistics=statistics,
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
        allowed = min(self.config.max_routed, len(self.subnetworks))
        strongest = torch.zeros_like(currents, dtype=torch.bool)
        strongest.scatter_(1, currents.topk(allowed, dim=1).indices, True)
        return currents, strongest & (currents >= thresholds)

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
        try:
            classes = state[f"{prefix}classes"]
            temperature, threshold = state[f"{prefix}synapse"].tolist()
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"The sub-network of task {index} is incomplete.") from error
        statistics = ClassStatistics.from_state(state, f"{prefix}statistics.")
        return SilentSubnetwork(
            index=index,
            adapter=self._load_adapter(state, f"{prefix}adapter."),
            classes=classes,
            statistics=statistics,
            temperature=temperature,
            threshold=threshold,
            head=GaussianHead(statistics, shrinkage=self.config.shrinkage),
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
