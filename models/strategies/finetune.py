"""Plain sequential training of one shared adapter and one growing head: the honest lower bound. It forgets."""

import time
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from models.fitting import derive_seed
from models.progress import ProgressFn, ignore_progress
from models.strategies.base import LearningReport, Task
from models.strategies.network import NetworkStrategy, TrainingConfig


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(TrainingConfig):
    """Hyperparameters of sequential fine-tuning; the same training as `artsy` uses, so the two compare."""


class Finetune(NetworkStrategy[FinetuneConfig]):
    """One adapter and one linear head, trained on each task in turn with nothing to protect the old ones."""

    name = "finetune"
    summary = "Plain sequential training of one adapter and head: the lower bound, it forgets."
    config_type = FinetuneConfig

    def learn(self, task: Task, on_progress: ProgressFn = ignore_progress) -> LearningReport:
        started = time.perf_counter()
        targets = self.register(task)
        seed = derive_seed(task.seed, task.index)
        network = self.network.to_train(len(self.classes_), seed=seed)

        def loss_fn(images: Tensor, image_targets: Tensor) -> Tensor:
            return F.cross_entropy(network(images), image_targets)

        loss = self.train(network, task, targets, loss_fn, seed=seed, on_progress=on_progress)
        details = {"loss": loss, "temperature": self.calibrate(task)}
        return LearningReport(len(task.images), time.perf_counter() - started, details)
