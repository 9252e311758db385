"""Plain sequential training of one shared adapter and one growing head: the honest lower bound. It forgets."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from models.backbone import Backbone
from models.calibration import LOGIT_PRIOR, Calibration
from models.fitting import derive_seed, fit
from models.progress import ProgressFn, ignore_progress
from models.strategies.base import LearningReport, Prediction, Strategy, Task
from models.strategies.network import LinearNetwork, TrainingConfig, strangeness


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(TrainingConfig):
    """Hyperparameters of sequential fine-tuning; the same training as `artsy` uses, so the two compare."""


class Finetune(Strategy[FinetuneConfig]):
    """One adapter and one linear head, trained on each task in turn with nothing to protect the old ones."""

    name = "finetune"
    summary = "Plain sequential training of one adapter and head: the lower bound, it forgets."
    config_type = FinetuneConfig

    def __init__(self, backbone: Backbone, config: FinetuneConfig) -> None:
        super().__init__(backbone, config)
        self.network = LinearNetwork(backbone, bottleneck=config.bottleneck)
        self.calibration = Calibration(prior=LOGIT_PRIOR)

    def learn(self, task: Task, on_progress: ProgressFn = ignore_progress) -> LearningReport:
        started = time.perf_counter()
        targets = self.register(task)
        seed = derive_seed(task.seed, task.index)
        network = self.network.to_train(len(self.classes_), seed=seed)

        def loss_fn(images: Tensor, image_targets: Tensor) -> Tensor:
            return F.cross_entropy(network(images), image_targets)

        loss = fit(
            network.parameters(),
            task.images,
            targets,
            loss_fn,
            self.config.schedule,
            seed=seed,
            device=self.backbone.device,
            on_progress=on_progress,
        )
        self.network = network.freeze()
        images, image_targets = self.calibration_set(task)
        logits = self.predict_logits(images)
        self.calibration.add(logits, image_targets, strangeness(logits))
        details = {"loss": loss, "temperature": self.calibration.temperature.value}
        return LearningReport(len(task.images), time.perf_counter() - started, details)

    def predict_logits(self, images: Tensor) -> Tensor:
        self.require_learned()
        return self.network.logits(images)

    def predict(self, images: Tensor) -> Prediction:
        logits = self.predict_logits(images)
        novelty = self.calibration.familiarity.novelty(strangeness(logits))
        return self.without_routes(self.calibration.probabilities(logits), novelty)

    def state_dict(self) -> dict[str, Tensor]:
        return self.network.state_dict() | self.calibration.state_dict("calibration.")

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.network.load_state_dict(state, len(self.classes_))
        self.calibration.load_state_dict(state, "calibration.")
