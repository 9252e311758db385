"""A small strategy that consolidates: class means, under a scaling of the features that is trained later."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.checkpoint import Checkpoints
from models.fitting import Schedule, fit
from models.head import cosine_scores
from models.ledger import Removal
from models.progress import Progress, ProgressFn
from models.state import StateReader
from models.strategies.base import StrategyConfig
from models.strategies.simplecil import SimpleCIL
from models.strategies.values import RawScores, Task


@dataclass(frozen=True, kw_only=True)
class ConsolidatingConfig(StrategyConfig):
    """How long to train, and what the evidence says."""

    epochs: int = 2
    adopts: bool = True
    harms: bool = False
    """Whether what was known is answered wrongly afterwards."""


class Consolidating(SimpleCIL):
    """Class means. A consolidation trains by how much each feature counts, and forgets nothing else."""

    name = "consolidating"
    summary = "Learns class means at once, and trains a scaling of the features later. For tests."
    config_type = ConsolidatingConfig
    consolidates = True
    reads_features = False

    def __init__(self, backbone: Any, config: Any) -> None:
        super().__init__(backbone, config)
        self.scaling = torch.ones(backbone.feature_width)
        self.waiting: tuple[int, ...] = ()

    @property
    def unconsolidated_(self) -> tuple[int, ...]:
        return tuple(index for index in self.waiting if index in self.task_indexes_)

    def fingerprint_of_features(self) -> str:
        return hashlib.sha256(self.scaling.numpy().tobytes()).hexdigest()

    def _learn(self, task: Task, targets: Tensor, on_progress: ProgressFn) -> dict[str, Any]:
        self.waiting += (task.index,)
        return super()._learn(task, targets, on_progress)

    def _consolidate(
        self,
        tasks: Sequence[Task],
        seed: int,
        checkpoints: Checkpoints,
        on_progress: ProgressFn,
    ) -> tuple[bool, str, dict[str, Any]]:
        scaling = nn.Parameter(self.scaling.clone())
        features = torch.cat([self.backbone.embed(task.images).cpu() for task in tasks])
        targets = torch.cat([self.targets(task.labels) for task in tasks])
        means = self.means
        loss = fit(
            [scaling],
            features,
            targets,
            lambda rows, wanted: nn.functional.cross_entropy(
                cosine_scores(rows * scaling, means * scaling) * 10, wanted
            ),
            Schedule(epochs=self.config.epochs, batch_size=4, learning_rate=0.1),
            seed=seed,
            device=torch.device("cpu"),
            checkpoints=checkpoints,
            on_progress=on_progress,
        )
        on_progress(Progress("consolidating", 1.0))
        if not self.config.adopts:
            return False, "The answers do not get better.", {"loss": loss, "gain": -0.1}
        self.scaling = -scaling.detach() if self.config.harms else scaling.detach()
        trained = {task.index for task in tasks}
        self.waiting = tuple(index for index in self.waiting if index not in trained)
        return True, "The answers get better.", {"loss": loss, "gain": 0.1}

    def score(self, images: Tensor) -> RawScores:
        means = self.means * self.scaling.abs()
        if self.scaling.sum() < 0:
            means = means.roll(1, dims=0)
        scores = cosine_scores(self.backbone.embed(images).cpu() * self.scaling.abs(), means)
        return RawScores(scores, 1 - scores.amax(dim=1))

    def _state_dict(self) -> dict[str, Tensor]:
        waiting = torch.tensor(self.unconsolidated_, dtype=torch.float32)
        return {**super()._state_dict(), "scaling": self.scaling, "waiting": waiting}

    def _load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        super()._load_state_dict(state)
        reader = StateReader(state, what="the scaling")
        self.scaling = reader.tensor("scaling", (self.backbone.feature_width,))
        n = len(state["waiting"])
        self.waiting = tuple(map(int, reader.tensor("waiting", (n,)).tolist()))

    def _forget(self, removal: Removal, images: Sequence[Task], on_progress: ProgressFn) -> str:
        residue = super()._forget(removal, images, on_progress)
        self.waiting = self.unconsolidated_
        return residue
