"""SimpleCIL: class means of the frozen backbone's features, compared by cosine. Nothing is trained.

Each task's sums are kept by themselves, so a task or class can be taken out again without a trace in the scores.

Reference:
    Zhou et al., IJCV 2024, https://arxiv.org/abs/2303.07338. Differs: scores are calibrated by a temperature.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.backbone import Backbone
from models.calibration import COSINE_PRIOR, Calibration
from models.head import cosine_scores
from models.ledger import Ledger, Removal
from models.progress import Progress, ProgressFn, ignore_progress
from models.state import StateReader
from models.strategies.base import LearningReport, Prediction, Strategy, StrategyConfig, Task


@dataclass(frozen=True, kw_only=True)
class SimpleCILConfig(StrategyConfig):
    """SimpleCIL has no hyperparameters."""


class SimpleCIL(Strategy[SimpleCILConfig]):
    """Class means on frozen features. Forgets nothing, and improves nothing."""

    name = "simplecil"
    summary = "Class means on frozen features: learns in seconds and trains nothing. A baseline."
    unlearning = "exact"
    config_type = SimpleCILConfig

    def __init__(self, backbone: Backbone, config: SimpleCILConfig) -> None:
        super().__init__(backbone, config)
        self.sums: dict[int, Tensor] = {}
        """Of each task: sum of the features of each class it brought, float64 `(C, D)`, in the order of the ledger."""
        self.calibration = Calibration(prior=COSINE_PRIOR)
        self._means: Tensor | None = None

    @property
    def means(self) -> Tensor:
        """Mean feature of each class over all tasks, `(K, D)`: each has the same images as a learner had at once."""
        if self._means is None:
            K, D = len(self.classes_), self.backbone.feature_width
            sums, counts = torch.zeros(K, D, dtype=torch.float64), torch.zeros(K, 1)
            rows = (row for task in self.task_indexes_ for row in self.sums[task])
            for entry, row in zip(self.ledger.entries, rows, strict=True):
                sums[entry.target] += row
                counts[entry.target] += entry.n_images
            self._means = (sums / counts).float()
        return self._means

    def learn(self, task: Task, on_progress: ProgressFn = ignore_progress) -> LearningReport:
        started = time.perf_counter()
        targets = self.register(task)
        features = self.backbone.embed(task.images).cpu().double()
        mine = dict.fromkeys(targets.tolist())
        self.sums[task.index] = torch.stack([features[targets == k].sum(dim=0) for k in mine])
        self._means = None
        on_progress(Progress("consolidating", 0.5))
        images, image_targets = self.calibration_set(task)
        scores = self.predict_logits(images)
        self.calibration.add(scores, image_targets, 1 - scores.amax(dim=1), task=task.index)
        on_progress(Progress("consolidating", 1.0))
        details = {"temperature": self.calibration.temperature.value}
        return LearningReport(len(task.images), time.perf_counter() - started, details)

    def predict_logits(self, images: Tensor) -> Tensor:
        self.require_learned()
        return cosine_scores(self.backbone.embed(images).cpu(), self.means)

    def predict(self, images: Tensor) -> Prediction:
        scores = self.predict_logits(images)
        distances = 1 - scores.amax(dim=1)
        return self.without_routes(
            self.calibration.probabilities(scores), self.calibration.familiarity.novelty(distances)
        )

    def state_dict(self) -> dict[str, Tensor]:
        return {
            **self.ledger.state_dict(),
            **{f"tasks.{index}.sums": sums for index, sums in self.sums.items()},
            **self.calibration.state_dict("calibration."),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.ledger = Ledger.from_state(state, self.task_indexes_, len(self.classes_))
        reader = StateReader(state, "tasks.", what="the sums of the classes")
        self.sums = {}
        for index in self.task_indexes_:
            shape = (len(self.ledger.classes_of(index)), self.backbone.feature_width)
            self.sums[index] = reader.tensor(f"{index}.sums", shape, torch.float64)
        self._means = None
        self.calibration.load_state_dict(state, "calibration.")

    def _forget(self, removal: Removal, images: Sequence[Task], on_progress: ProgressFn) -> str:
        before = self.ledger
        self.strike(removal)
        self.sums = {
            index: self.sums[index][removal.trim(before.classes_of(index))[0]]
            for index in self.task_indexes_
        }
        self._means = None
        self.calibration.drop(removal.tasks)
        return ""
