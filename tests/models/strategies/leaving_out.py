"""A small strategy that measures itself on its training images: class means, each image left out in turn."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.head import cosine_scores
from models.progress import ProgressFn
from models.state import StateReader
from models.strategies.base import Strategy, StrategyConfig
from models.strategies.values import CrossValidation, RawScores, Task


@dataclass(frozen=True, kw_only=True)
class LeavingOutConfig(StrategyConfig):
    """None."""


class LeavingOut(Strategy[LeavingOutConfig]):
    """The mean feature of each class, and the feature of every training image."""

    name = "leaving_out"
    summary = "Knows each class by the mean of its features, and keeps them all. For tests."
    config_type = LeavingOutConfig
    cross_validates = True

    def __init__(self, backbone, config) -> None:
        super().__init__(backbone, config)
        self.rows = torch.zeros(0, backbone.feature_width)
        self.row_targets = torch.zeros(0, dtype=torch.int64)
        self.row_tasks = torch.zeros(0, dtype=torch.int64)
        self.carried_tasks: tuple[int, ...] = ()

    def _learn(self, task: Task, targets: Tensor, on_progress: ProgressFn) -> dict[str, Any]:
        self.rows = torch.cat([self.rows, self.backbone.embed(task.images).cpu()])
        self.row_targets = torch.cat([self.row_targets, targets])
        self.row_tasks = torch.cat([self.row_tasks, torch.full_like(targets, task.index)])
        self.calibrate(task)
        return {}

    def score(self, images: Tensor) -> RawScores:
        scores = self._scores(self.backbone.embed(images).cpu(), torch.ones(len(self.rows)).bool())
        return RawScores(scores, 1 - scores.amax(dim=1))

    def cross_validation(self) -> CrossValidation:
        answers = []
        for i in range(len(self.rows)):
            others = torch.arange(len(self.rows)) != i
            answers.append(self._scores(self.rows[i : i + 1], others).argmax())
        return CrossValidation(
            self.row_tasks,
            self.row_targets,
            torch.stack(answers),
            torch.isin(self.row_tasks, torch.tensor(self.carried_tasks, dtype=torch.int64)),
        )

    def _scores(self, features: Tensor, used: Tensor) -> Tensor:
        of_class = [used & (self.row_targets == k) for k in range(len(self.classes_))]
        means = torch.stack([self.rows[rows].sum(dim=0) for rows in of_class])
        return cosine_scores(features, means)

    def _state_dict(self) -> dict[str, Tensor]:
        origins = torch.stack([self.row_targets, self.row_tasks]).float()
        return {"rows": self.rows, "origins": origins}

    def _load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        reader = StateReader(state, what="the rows")
        n = len(state["rows"])
        self.rows = reader.tensor("rows", (n, self.backbone.feature_width))
        self.row_targets, self.row_tasks = reader.tensor("origins", (2, n)).long()
