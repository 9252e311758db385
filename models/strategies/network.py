"""What strategies that train one network through all tasks share: its hyperparameters, and the network itself."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.adapter import Adapter, adapter_state, load_adapter
from models.backbone import Backbone
from models.bounds import BatchSize, Bottleneck, Epochs, Rate
from models.dataset import Augmentation
from models.errors import ConfigError
from models.fitting import NO_RULE, LossFn, PlasticityRule, Precision, Schedule, fit, seeded
from models.progress import ProgressFn, ignore_progress
from models.state import StateReader
from models.strategies.base import Strategy, StrategyConfig
from models.strategies.values import RawScores, Task

Softmax = Literal["all", "task"]
"""Classes that compete while a task is learned: all learned so far, or its own alone."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(StrategyConfig):
    """How an adapter is trained: the same for every strategy that trains one, so that they compare."""

    epochs: Epochs = 8
    """Passes over a task's images."""
    batch_size: BatchSize = 16
    """Images a step."""
    learning_rate: Rate = 0.025
    """Peak of the cosine schedule; EASE's value for adapters."""
    bottleneck: Bottleneck = 64
    """Width of the adapter in each block; AdaptFormer's value."""
    augmentation: Augmentation = "crop"
    """`none`, `crop`, or `crop_flip` for images that may be mirrored."""
    precision: Precision = "auto"
    """Of training: `auto` is `bfloat16` on a GPU and `float32` elsewhere."""

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size, self.bottleneck) < 1 or self.learning_rate <= 0:
            raise ConfigError("epochs, batch_size, bottleneck and learning_rate must be positive.")

    @property
    def schedule(self) -> Schedule:
        """How one task is trained."""
        return Schedule(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            augmentation=self.augmentation,
            precision=self.precision,
        )


class LinearHead(nn.Linear):
    """Logits linear in the features. It starts at zero: a new class is neither favoured nor drawn by chance."""

    def reset_parameters(self) -> None:
        """Set weight and bias to zero."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


class LinearNetwork:
    """The frozen backbone with one adapter that every task trains on, and a linear head with a row a class.

    Frozen as it is; `to_train` returns the copy that a task changes. Shapes: B images, K classes.
    """

    def __init__(self, backbone: Backbone, *, bottleneck: int) -> None:
        self.backbone = backbone
        self.bottleneck = bottleneck
        self.adapter: Adapter | None = None
        """None until the first task."""
        self.head = LinearHead(backbone.feature_width, 0).requires_grad_(False)

    @property
    def n_classes(self) -> int:
        """Classes the head has a row for."""
        return self.head.out_features

    def __call__(self, images: Tensor) -> Tensor:
        """Return logits `(B, K)` on the backbone's device, with gradients: what training minimises."""
        logits: Tensor = self.head(self.backbone(images, self.adapter))
        return logits

    def logits(self, images: Tensor) -> Tensor:
        """Return logits `(N, K)` on the CPU for any number of uint8 images, without gradients."""
        features = self.backbone.embed(images, self.adapter).cpu()
        return F.linear(features, self.head.weight.cpu(), self.head.bias.cpu())

    def to_train(self, n_classes: int, *, seed: int) -> "LinearNetwork":
        """Return an independent copy that can be trained, its head grown by zero rows to `n_classes`.

        The first task's adapter is a fresh one, drawn from `seed`.
        """
        network = LinearNetwork(self.backbone, bottleneck=self.bottleneck)
        if self.adapter is None:
            network.adapter = fresh_adapter(self.backbone, self.bottleneck, seed=seed)
        else:
            network.adapter = self.adapter.clone().requires_grad_(True).train()
        network.head = LinearHead(self.backbone.feature_width, n_classes).to(self.backbone.device)
        with torch.no_grad():
            network.head.weight[: self.n_classes] = self.head.weight
            network.head.bias[: self.n_classes] = self.head.bias
        return network

    def freeze(self) -> "LinearNetwork":
        """Stop learning for good, and return itself."""
        if self.adapter is not None:
            self.adapter.freeze()
        self.head.requires_grad_(False)
        return self

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield what is trained: the adapter, then the head, under the keys of `state_dict`."""
        if self.adapter is not None:
            yield from self.adapter.named_parameters("adapter")
        yield from self.head.named_parameters("head")

    def linear_layers(self) -> dict[str, nn.Linear]:
        """Return the layers that the parameters belong to, by the prefix of their names."""
        layers: dict[str, nn.Linear] = {"head": self.head}
        if self.adapter is not None:
            for name, module in self.adapter.named_modules(prefix="adapter"):
                if isinstance(module, nn.Linear):
                    layers[name] = module
        return layers

    def parameters(self) -> list[nn.Parameter]:
        """Return what is trained, in the order of `named_parameters`."""
        return [parameter for _, parameter in self.named_parameters()]

    def state_dict(self) -> dict[str, Tensor]:
        """Return adapter and head as CPU tensors."""
        state = {
            "head.weight": self.head.weight.detach().cpu(),
            "head.bias": self.head.bias.detach().cpu(),
        }
        return state if self.adapter is None else state | adapter_state(self.adapter, "adapter.")

    def load_state_dict(self, state: Mapping[str, Tensor], n_classes: int) -> None:
        """Take over what `state_dict` returned for `n_classes`, none before the first task.

        Raises:
            CheckpointError: If a tensor is missing or has another shape or type.
        """
        width = self.backbone.feature_width
        reader = StateReader(state, "head.", what="the head")
        self.head = reader.module(lambda: LinearHead(width, n_classes)).to(self.backbone.device)
        self.adapter = None
        if n_classes:
            self.adapter = load_adapter(
                state,
                "adapter.",
                width=width,
                depth=self.backbone.depth,
                bottleneck=self.bottleneck,
            ).to(self.backbone.device)


NetworkConfigT = TypeVar("NetworkConfigT", bound=TrainingConfig)


class NetworkStrategy(Strategy[NetworkConfigT]):
    """A strategy that trains one `LinearNetwork` through all tasks; `_learn` is each one's own."""

    def __init__(self, backbone: Backbone, config: NetworkConfigT) -> None:
        super().__init__(backbone, config)
        self.network = LinearNetwork(backbone, bottleneck=config.bottleneck)

    def train(
        self,
        network: LinearNetwork,
        task: Task,
        targets: Tensor,
        loss_fn: LossFn,
        *,
        seed: int,
        rule: PlasticityRule = NO_RULE,
        on_progress: ProgressFn = ignore_progress,
    ) -> float:
        """Train what `to_train` returned, put it in the place of the old one, and return the last mean loss."""
        loss = fit(
            network.parameters(),
            task.images,
            targets,
            loss_fn,
            self.config.schedule,
            seed=seed,
            device=self.backbone.device,
            rule=rule,
            checkpoints=task.checkpoints,
            on_progress=on_progress,
        )
        self.network = network.freeze()
        return loss

    def score(self, images: Tensor) -> RawScores:
        logits = self.network.logits(images)
        return RawScores(logits, strangeness(logits))

    def _state_dict(self) -> dict[str, Tensor]:
        return self.network.state_dict()

    def _load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.network.load_state_dict(state, len(self.classes_))


def fresh_adapter(backbone: Backbone, bottleneck: int, *, seed: int) -> Adapter:
    """Return an adapter to train, drawn from `seed`, on the backbone's device."""
    with seeded(seed):
        fresh = Adapter(width=backbone.feature_width, depth=backbone.depth, bottleneck=bottleneck)
    return fresh.to(backbone.device).train()


def competing_classes(targets: Tensor, n_classes: int, softmax: Softmax) -> Tensor:
    """Return the bool mask `(K,)` of the classes that share a softmax while a task with these targets is learned."""
    competing = torch.zeros(n_classes, dtype=torch.bool, device=targets.device)
    competing[targets] = True
    # A class that competes with no other teaches nothing.
    if softmax == "all" or int(competing.sum()) < 2:
        competing[:] = True
    return competing


def cross_entropy_among(competing: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy among the competing classes only: the others' logits get no gradient."""
    return F.cross_entropy(logits.masked_fill(~competing, -math.inf), targets)


def strangeness(logits: Tensor) -> Tensor:
    """Return a positive distance that grows as the evidence for every class falls, `(B,)`.

    The free energy of the logits, through a softplus: Liu et al., 2020, https://arxiv.org/abs/2010.03759.
    """
    return F.softplus(-torch.logsumexp(logits, dim=1))
