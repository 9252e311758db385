"""Learning without Forgetting: what the network answered before a task, it goes on answering on the task's images.

Reference:
    Li & Hoiem, ECCV 2016, https://arxiv.org/abs/1606.09282. Differs: the old answers are computed on every augmented
    batch instead of once, the new rows of the head are not warmed up alone, and the task is not given at prediction:
    one head answers for all classes.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from models.bounds import Factor, Weight
from models.errors import ConfigError
from models.fitting import derive_seed
from models.progress import ProgressFn
from models.strategies.network import (
    NetworkStrategy,
    Softmax,
    TrainingConfig,
    competing_classes,
    cross_entropy_among,
)
from models.strategies.values import Task


@dataclass(frozen=True, kw_only=True)
class LwFConfig(TrainingConfig):
    """Hyperparameters of Learning without Forgetting."""

    distillation: Weight = 1.0
    """Weight of the old answers beside the new labels; the paper's value. 0 is `finetune`."""
    temperature: Factor = 2.0
    """Softens both answers before they are compared, so that small probabilities count; the paper's value."""
    softmax: Softmax = "task"
    """Classes that compete for the new labels: those of the `task` alone, as in the paper, or `all` learned so far, as
    in `finetune`. A task of a single class competes with all. On a frozen backbone
    this saves more than the rest of the method."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.distillation < 0 or self.temperature <= 0:
            raise ConfigError(
                "distillation must not be negative, and temperature must be positive."
            )
        if self.softmax not in ("all", "task"):
            raise ConfigError("softmax must be all or task.")


class LwF(NetworkStrategy[LwFConfig]):
    """One adapter and one linear head; the network before the task teaches the one that learns it."""

    name = "lwf"
    summary = "Sequential training that keeps its old answers on the new images. A baseline."
    config_type = LwFConfig

    def _learn(self, task: Task, targets: Tensor, on_progress: ProgressFn) -> dict[str, Any]:
        seed = derive_seed(task.seed, task.index)
        config, teacher = self.config, self.network
        network = teacher.to_train(len(self.classes_), seed=seed)
        competing = competing_classes(targets, len(self.classes_), config.softmax)
        competing = competing.to(self.backbone.device)

        def loss_fn(images: Tensor, image_targets: Tensor) -> Tensor:
            logits = network(images)
            loss = cross_entropy_among(competing, logits, image_targets)
            if teacher.n_classes == 0:
                return loss
            with torch.no_grad():
                old_logits = teacher(images)
            moved = distillation_loss(
                logits[:, : teacher.n_classes], old_logits, temperature=config.temperature
            )
            return loss + config.distillation * moved

        loss = self.train(network, task, targets, loss_fn, seed=seed, on_progress=on_progress)
        self.calibrate(task)
        return {"loss": loss}


def distillation_loss(logits: Tensor, old_logits: Tensor, *, temperature: float) -> Tensor:
    """Return how far softened answers have moved from the old ones: their Kullback-Leibler divergence, a mean.

    Args:
        logits: Of the network that learns, `(B, K)`.
        old_logits: Of the network before the task, `(B, K)`.
        temperature: Divides both.

    Returns:
        A scalar, zero where the answers agree. With a single class they always do.

    Reference:
        Eq. 2 of the paper is the cross-entropy, which differs by a constant: the gradient is the same.
    """
    new = F.log_softmax(logits / temperature, dim=1)
    old = F.log_softmax(old_logits / temperature, dim=1)
    return F.kl_div(new, old, log_target=True, reduction="batchmean")
