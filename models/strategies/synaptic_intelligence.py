"""Synaptic Intelligence: one shared adapter and one growing head, each weight held by what it did for earlier tasks.

Reference:
    Zenke, Poole and Ganguli, 2017, https://arxiv.org/abs/1703.04200; the rule itself is `models.path_integral`. Differs
    from the paper: the network is an adapter and a linear head on a frozen backbone, the learning rate falls along a
    cosine within a task.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from models.backbone import Backbone
from models.bounds import Factor, Rate, Weight
from models.errors import ConfigError
from models.fitting import Schedule, derive_seed
from models.path_integral import PathIntegral
from models.progress import ProgressFn
from models.state import StateReader
from models.strategies.network import (
    NetworkStrategy,
    Softmax,
    TrainingConfig,
    competing_classes,
    cross_entropy_among,
)
from models.strategies.values import Task


@dataclass(frozen=True, kw_only=True)
class SynapticIntelligenceConfig(TrainingConfig):
    """Hyperparameters of Synaptic Intelligence."""

    learning_rate: Rate = 1e-3
    """Of Adam, as in the paper, whose steps stay small however stiff the penalty is. Peak of a cosine."""
    strength: Weight = 1.0
    """c: weight of the penalty that holds important synapses; 0 is sequential training with nothing to hold them."""
    damping: Factor = 1e-3
    """xi: keeps the importance of a synapse that hardly moved finite; the paper's value but for permuted MNIST."""
    softmax: Softmax = "task"
    """Classes that compete in training: those of the `task` alone, as in the paper, or `all` learned so far, as in
    `finetune`. A task of a single class competes with all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strength < 0 or self.damping <= 0:
            raise ConfigError("strength must not be negative, and damping must be positive.")
        if self.softmax not in ("all", "task"):
            raise ConfigError("softmax must be all or task.")

    @property
    def schedule(self) -> Schedule:
        """How one task is trained. Weight decay would pull at synapses that are to be held."""
        return replace(super().schedule, optimizer="adam", weight_decay=0.0)


class SynapticIntelligence(NetworkStrategy[SynapticIntelligenceConfig]):
    """An adapter and a linear head whose weights are the harder to move the more they lowered the loss before."""

    name = "synaptic_intelligence"
    summary = (
        "One adapter and head under Synaptic Intelligence: protects shared weights in task- and domain-incremental "
        "use (more images of known classes, new conditions); alone it does not solve class-incremental learning."
    )
    config_type = SynapticIntelligenceConfig

    def __init__(self, backbone: Backbone, config: SynapticIntelligenceConfig) -> None:
        super().__init__(backbone, config)
        self.importance: dict[str, Tensor] = {}
        """Of every parameter of the network, by its name. Path integrals are zero and references the parameters
        themselves between tasks, so this is all that has to be kept."""

    def _learn(self, task: Task, targets: Tensor, on_progress: ProgressFn) -> dict[str, Any]:
        seed = derive_seed(task.seed, task.index)
        network = self.network.to_train(len(self.classes_), seed=seed)
        rule = PathIntegral(
            dict(network.named_parameters()),
            damping=self.config.damping,
            strength=self.config.strength,
            importance=self.importance,
        )
        competing = competing_classes(targets, len(self.classes_), self.config.softmax)
        competing = competing.to(self.backbone.device)

        def loss_fn(images: Tensor, image_targets: Tensor) -> Tensor:
            return cross_entropy_among(competing, network(images), image_targets)

        loss = self.train(
            network, task, targets, loss_fn, seed=seed, rule=rule, on_progress=on_progress
        )
        penalty = float(rule.penalty().detach())
        rule.consolidate()
        self.importance = {name: value.cpu() for name, value in rule.importance.items()}
        self.calibrate(task)
        return {
            "loss": loss,
            "penalty": penalty,
            "importance": sum(float(value.double().sum()) for value in self.importance.values()),
        }

    def _state_dict(self) -> dict[str, Tensor]:
        importance = {f"importance.{name}": value for name, value in self.importance.items()}
        return super()._state_dict() | importance

    def _load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        super()._load_state_dict(state)
        reader = StateReader(state, "importance.", what="the importance of the synapses")
        named = self.network.named_parameters() if self.classes_ else ()
        self.importance = {name: reader.tensor(name, p.shape).clone() for name, p in named}
