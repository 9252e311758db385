"""Plain sequential training of one shared adapter and one growing head: the honest lower bound. It forgets."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from models.fitting import derive_seed
from models.progress import ProgressFn
from models.strategies.network import NetworkStrategy, TrainingConfig
from models.strategies.values import Task


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(TrainingConfig):
    """Hyperparameters of sequential fine-tuning; the same training as `artsy` uses, so the two compare."""


class Finetune(NetworkStrategy[FinetuneConfig]):
    """One adapter and one linear head, trained on each task in turn with nothing to protect the old ones."""

    name = "finetune"
    summary = "Plain sequential training of one adapter and head: the lower bound, it forgets."
    config_type = FinetuneConfig

    def _learn(self, task: Task, targets: Tensor, on_progress: ProgressFn) -> dict[str, Any]:
        seed = derive_seed(task.seed, task.index)
        network = self.network.to_train(len(self.classes_), seed=seed)

        def loss_fn(images: Tensor, image_targets: Tensor) -> Tensor:
            return F.cross_entropy(network(images), image_targets)

        loss = self.train(network, task, targets, loss_fn, seed=seed, on_progress=on_progress)
        self.calibrate(task)
        return {"loss": loss}
