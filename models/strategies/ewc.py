"""Elastic Weight Consolidation: what mattered for the old tasks is held where it was, as by a spring.

How much a synapse mattered is the diagonal of the empirical Fisher information: its mean squared gradient of the
log-likelihood of the task's labels, image by image.

Reference:
    Kirkpatrick et al., PNAS 2017, https://arxiv.org/abs/1612.00796, in the online form of Schwarz et al., ICML 2018,
    https://arxiv.org/abs/1805.06370: one running Fisher, its springs tied to the newest weights. Differs: the true
    labels stand for labels drawn from the model (the empirical Fisher), the spring is capped where a step of the
    training could overshoot, and one head answers for all classes, where the papers' tasks are known at prediction.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.backbone import Backbone
from models.bounds import Share, Weight
from models.errors import ConfigError
from models.fitting import derive_seed
from models.progress import Progress, ProgressFn
from models.state import StateReader
from models.strategies.network import (
    LinearNetwork,
    NetworkStrategy,
    Softmax,
    TrainingConfig,
    competing_classes,
    cross_entropy_among,
)
from models.strategies.values import Task

Spring = tuple[nn.Parameter, Tensor, Tensor]
"""A parameter, where it rests, and how stiff it is held there."""


@dataclass(frozen=True, kw_only=True)
class EWCConfig(TrainingConfig):
    """Hyperparameters of Elastic Weight Consolidation."""

    strength: Weight = 10_000.0
    """Stiffness of the springs, for a Fisher information of 1. In a trained adapter it is near 1e-6, in the head near
    5e-3, so this holds the head still and slows what mattered most in the adapter. Chosen from these sizes alone."""
    decay: Share = 1.0
    """Share of the running Fisher that each further task leaves, gamma of the online form; 1 forgets no task."""
    softmax: Softmax = "task"
    """Classes that compete in training: those of the `task` alone, as in the papers, or `all` learned so far, as in
    `finetune`. A task of a single class competes with all. On a frozen backbone
    this saves more than the rest of the method."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strength < 0 or not 0 <= self.decay <= 1:
            raise ConfigError("strength must not be negative, and decay must lie between 0 and 1.")
        if self.softmax not in ("all", "task"):
            raise ConfigError("softmax must be all or task.")


class EWC(NetworkStrategy[EWCConfig]):
    """One adapter and one linear head, tied to where they were by springs as stiff as they mattered."""

    name = "ewc"
    summary = "Sequential training that holds what mattered for old tasks in place. A baseline."
    config_type = EWCConfig

    def __init__(self, backbone: Backbone, config: EWCConfig) -> None:
        super().__init__(backbone, config)
        self.fisher: dict[str, Tensor] = {}
        """Running Fisher information of each parameter of the network, on the CPU; empty before the first task."""

    def _learn(self, task: Task, targets: Tensor, on_progress: ProgressFn) -> dict[str, Any]:
        seed = derive_seed(task.seed, task.index)
        config = self.config
        network = self.network.to_train(len(self.classes_), seed=seed)
        springs = self._springs(network)
        competing = competing_classes(targets, len(self.classes_), config.softmax)
        competing = competing.to(self.backbone.device)

        def loss_fn(images: Tensor, image_targets: Tensor) -> Tensor:
            task_loss = cross_entropy_among(competing, network(images), image_targets)
            return task_loss + penalty(springs)

        loss = self.train(network, task, targets, loss_fn, seed=seed, on_progress=on_progress)
        on_progress(Progress("consolidating", 0.0))
        fisher = diagonal_fisher(self.network, task.images, targets, competing)
        self.fisher = {
            name: config.decay * grown(self.fisher.get(name), information) + information
            for name, information in fisher.items()
        }
        self.calibrate(task)
        on_progress(Progress("consolidating", 1.0))
        return {"loss": loss}

    def _state_dict(self) -> dict[str, Tensor]:
        fisher = {f"fisher.{name}": information for name, information in self.fisher.items()}
        return super()._state_dict() | fisher

    def _load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        super()._load_state_dict(state)
        reader = StateReader(state, "fisher.", what="the Fisher information")
        named = self.network.named_parameters() if self.classes_ else ()
        self.fisher = {name: reader.tensor(name, parameter.shape) for name, parameter in named}

    def _springs(self, network: LinearNetwork) -> list[Spring]:
        """Tie each parameter to where it is now; none before the first task."""
        # Momentum would overshoot a spring much stiffer than this, and one as stiff hardly gives.
        stiffest = 1 / self.config.learning_rate
        springs = []
        for name, parameter in network.named_parameters():
            if name in self.fisher:
                information = grown(self.fisher[name].to(parameter.device), parameter)
                stiffness = (self.config.strength * information).clamp(max=stiffest)
                springs.append((parameter, parameter.detach().clone(), stiffness))
        return springs


def penalty(springs: Sequence[Spring]) -> Tensor:
    """Return half the stiffness times the squared displacement, summed over all synapses."""
    terms = [(stiffness * (now - rest).square()).sum() / 2 for now, rest, stiffness in springs]
    return sum(terms, start=torch.zeros(()))


def grown(information: Tensor | None, like: Tensor) -> Tensor:
    """Return the information with zeros for what `like` has more of: new rows of the head mattered to no task yet."""
    padded = torch.zeros_like(like)
    if information is not None:
        padded[: len(information)] = information
    return padded


def diagonal_fisher(
    network: LinearNetwork,
    images: Tensor,
    targets: Tensor,
    competing: Tensor,
    *,
    batch_size: int = 32,
) -> dict[str, Tensor]:
    """Return the mean over images of each parameter's squared gradient of the log-likelihood.

    Every parameter is the weight or bias of a linear layer. There the gradient of one image is the product of the
    layer's input and the gradient at its output, summed over tokens, so one pass gives those of a whole batch:
    Goodfellow, 2015, https://arxiv.org/abs/1510.01799.

    Shapes: B images, N tokens, I and O the layer's width before and after.

    Args:
        network: Frozen, so without dropout.
        images: uint8 `(N, 3, H, W)`, N > 0; not augmented.
        targets: int64 `(N,)`.
        competing: Classes in the softmax, bool `(K,)`.
        batch_size: Images a pass.

    Returns:
        CPU tensors under the names of `network.named_parameters()`.
    """
    device = network.backbone.device
    sums = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
    for part, part_targets in zip(images.split(batch_size), targets.split(batch_size), strict=True):
        with watched(network.linear_layers()) as (inputs, probes):
            logits = network(part.to(device))
        loss = cross_entropy_among(competing, logits, part_targets.to(device)) * len(part)
        gradients = torch.autograd.grad(loss, list(probes.values()))
        for name, gradient in zip(probes, gradients, strict=True):
            # The head sees one token, the pooled one.
            x = inputs[name].view(len(part), -1, inputs[name].shape[-1])
            g = gradient.view(len(part), -1, gradient.shape[-1])
            of_weight = torch.einsum("bno,bni->boi", g, x)
            sums[f"{name}.weight"] += of_weight.square().sum(dim=0)
            sums[f"{name}.bias"] += g.sum(dim=1).square().sum(dim=0)
    return {name: (total / len(images)).cpu() for name, total in sums.items()}


@contextmanager
def watched(
    layers: Mapping[str, nn.Linear],
) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Record, inside the block, each layer's input, and a zero added to its output to take the gradient there."""
    inputs: dict[str, Tensor] = {}
    probes: dict[str, Tensor] = {}

    def observe(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def hook(_: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
            inputs[name] = arguments[0].detach()
            probes[name] = torch.zeros_like(output, requires_grad=True)
            return output + probes[name]

        return hook

    with ExitStack() as stack:
        for name, layer in layers.items():
            stack.callback(layer.register_forward_hook(observe(name)).remove)
        yield inputs, probes
