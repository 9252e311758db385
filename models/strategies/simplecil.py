"""SimpleCIL: class means of the frozen backbone's features, compared by cosine. Nothing is trained.

Reference:
    Zhou et al., IJCV 2024, https://arxiv.org/abs/2303.07338. Differs: scores are calibrated by a temperature.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from models.backbone import Backbone
from models.calibration import COSINE_PRIOR, Calibration
from models.head import cosine_scores
from models.progress import Progress, ProgressFn, ignore_progress
from models.statistics import ClassStatistics
from models.strategies.base import LearningReport, Prediction, Strategy, StrategyConfig, Task


@dataclass(frozen=True, kw_only=True)
class SimpleCILConfig(StrategyConfig):
    """SimpleCIL has no hyperparameters."""


class SimpleCIL(Strategy[SimpleCILConfig]):
    """Class means on frozen features. Forgets nothing, and improves nothing."""

    name = "simplecil"
    summary = "Class means on frozen features: learns in seconds and trains nothing. A baseline."
    config_type = SimpleCILConfig

    def __init__(self, backbone: Backbone, config: SimpleCILConfig) -> None:
        super().__init__(backbone, config)
        self.statistics = ClassStatistics.empty(backbone.feature_width)
        self.calibration = Calibration(prior=COSINE_PRIOR)

    def learn(self, task: Task, on_progress: ProgressFn = ignore_progress) -> LearningReport:
        started = time.perf_counter()
        targets = self.register(task)
        features = self.backbone.embed(task.images)
        self.statistics.add(features, targets, len(self.classes_))
        on_progress(Progress("consolidating", 0.5))
        images, image_targets = self.calibration_set(task)
        scores = self.predict_logits(images)
        self.calibration.add(scores, image_targets, 1 - scores.amax(dim=1))
        on_progress(Progress("consolidating", 1.0))
        details = {"temperature": self.calibration.temperature.value}
        return LearningReport(len(task.images), time.perf_counter() - started, details)

    def predict_logits(self, images: Tensor) -> Tensor:
        self.require_learned()
        return cosine_scores(self.backbone.embed(images).cpu(), self.statistics.means.float())

    def predict(self, images: Tensor) -> Prediction:
        scores = self.predict_logits(images)
        distances = 1 - scores.amax(dim=1)
        return self.without_routes(
            self.calibration.probabilities(scores), self.calibration.familiarity.novelty(distances)
        )

    def state_dict(self) -> dict[str, Tensor]:
        return {
            **self.statistics.state_dict("statistics."),
            **self.calibration.state_dict("calibration."),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.statistics = ClassStatistics.from_state(state, "statistics.")
        self.calibration.load_state_dict(state, "calibration.")
