"""Neuromimetic metaplasticity: a fully connected head of stiff and flexible weights on frozen features.

Reference:
    Cho, Lee, Baek and Paik, 2025, https://arxiv.org/abs/2407.07133; the rule itself is `models.metaplasticity`. As in
    the paper, only fully connected layers learn, on frozen features, so there is no adapter. Differs: the features are
    the backbone's, centred and scaled once and for all by the first task's images; the output layer grows; s follows
    the first task; and the images of other classes that the paper mixes in under wrong labels are drawn from Gaussians,
    since none is kept.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.backbone import Backbone
from models.bounds import Bounds, Epochs, Factor, Rate
from models.errors import ConfigError
from models.fitting import Schedule, derive_seed, fit
from models.metaplasticity import MetaplasticityRule, read_scale
from models.progress import ProgressFn
from models.state import StateReader
from models.statistics import ClassStatistics
from models.strategies.base import Strategy, StrategyConfig
from models.strategies.network import LinearHead, strangeness
from models.strategies.values import RawScores, Task

Others = Literal["permuted", "replayed", "none"]


@dataclass(frozen=True, kw_only=True)
class MetaplasticityConfig(StrategyConfig):
    """Hyperparameters of metaplasticity."""

    epochs: Epochs = 5
    """Passes over a task's images; the paper's."""
    batch_size: Annotated[int, Bounds(1, 8192, "a step holds all of its features")] = 32
    """Images a step. The paper takes 1024 of 4000; tasks here are smaller."""
    learning_rate: Rate = 0.05
    """Of plain SGD, the same at every step; chosen on scikit-learn's digits."""
    width: Annotated[int, Bounds(1, 8192, "memory and time grow with its square")] = 256
    """Of the two hidden layers. The paper has 4096 on a feature of 9216."""
    relative_scale: Factor = 1.0
    """s in units of the inverse of the median distance that weights move in the first task. More stiffens sooner."""
    others: Others = "permuted"
    """What else is shown with a task's images. `permuted`: as many draws from the Gaussians of known classes that the
    task has not, under wrong labels, as the paper shows real images. `replayed`: the same under their right labels;
    more accurate, but then the Gaussians remember, not the synapses, and a mislabelled batch is believed. `none`."""

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size, self.width) < 1:
            raise ConfigError("epochs, batch_size and width must be positive.")
        if self.learning_rate <= 0 or self.relative_scale <= 0:
            raise ConfigError("learning_rate and relative_scale must be positive.")
        if self.others not in ("permuted", "replayed", "none"):
            raise ConfigError("others must be permuted, replayed or none.")


class Metaplasticity(Strategy[MetaplasticityConfig]):
    """A head whose rigid weights keep what came first while its flexible ones learn what comes next."""

    name = "metaplasticity"
    summary = (
        "A head with stiff and flexible synapses on frozen features: remembers first and last tasks best, gains by "
        "repetition and resists a mislabelled batch. For study, not for accuracy."
    )
    config_type = MetaplasticityConfig

    def __init__(self, backbone: Backbone, config: MetaplasticityConfig) -> None:
        super().__init__(backbone, config)
        width = backbone.feature_width
        self.centre, self.spread = torch.zeros(width), torch.ones(())
        """Mean of the first task's features, `(D,)`, and their root mean square distance from it a dimension."""
        self.head = Head(width, config.width, 0)
        self.flexibility: dict[str, Tensor] = {}
        self.initial: dict[str, Tensor] = {}
        self.scale: float | None = None
        self.statistics = ClassStatistics.empty(width)

    def _learn(self, task: Task, targets: Tensor, on_progress: ProgressFn) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(derive_seed(task.seed, task.index, 1))
        embedded = self.backbone.embed(task.images).cpu()
        if len(self.task_indexes_) == 1:
            self.centre = embedded.mean(dim=0)
            self.spread = (embedded - self.centre).square().mean().sqrt().clamp(min=1e-3)
        features = self._normalised(embedded)
        head = self._grown_head(generator)
        rule = MetaplasticityRule(
            head.weights(),
            flexibility=self.flexibility,
            initial=self.initial,
            scale=self.scale,
            generator=generator,
        )
        rule.start_task()
        config = self.config
        shown, labels = with_others(features, targets, self.statistics, config.others, generator)
        loss = fit(
            head.parameters(),
            shown,
            labels,
            lambda x, y: F.cross_entropy(head(x), y),
            Schedule(
                epochs=config.epochs,
                batch_size=config.batch_size,
                learning_rate=config.learning_rate,
                weight_decay=0,
                momentum=0,
                decay="none",
            ),
            seed=derive_seed(task.seed, task.index),
            device=torch.device("cpu"),
            rule=rule,
            checkpoints=task.checkpoints,
            on_progress=on_progress,
        )
        plastic = torch.cat([alpha.flatten() for alpha in rule.plasticity.values()])
        rule.calibrate(config.relative_scale)
        self.head = head.requires_grad_(False)
        self.flexibility, self.initial, self.scale = rule.flexibility, rule.initial, rule.scale
        self.statistics.add(features, targets, len(self.classes_))
        self.calibrate(task)
        return {
            "loss": loss,
            "scale": self.scale,
            "mean_plasticity": float(plastic.mean()),
        }

    def score(self, images: Tensor) -> RawScores:
        logits = self.head(self._normalised(self.backbone.embed(images).cpu()))
        return RawScores(logits, strangeness(logits))

    def _state_dict(self) -> dict[str, Tensor]:
        rule = {"flexibility": self.flexibility, "initial": self.initial}
        return {
            **{f"head.{key}": value.clone() for key, value in self.head.state_dict().items()},
            **{f"{part}.{name}": rule[part][name] for part in rule for name in rule[part]},
            "scale": torch.tensor([] if self.scale is None else [self.scale], dtype=torch.float64),
            "centre": self.centre,
            "spread": self.spread,
            **self.statistics.state_dict("statistics."),
        }

    def _load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        sizes = (self.backbone.feature_width, self.config.width, len(self.classes_))
        self.head = StateReader(state, "head.", what="the head").module(lambda: Head(*sizes))
        reader = StateReader(state, what="the rule and the features")
        self.centre, self.spread = reader.tensor("centre", sizes[:1]), reader.tensor("spread", ())
        shapes = {name: w.shape for name, w in self.head.weights().items() if self.classes_}
        self.flexibility = {k: reader.tensor(f"flexibility.{k}", s) for k, s in shapes.items()}
        self.initial = {k: reader.tensor(f"initial.{k}", s) for k, s in shapes.items()}
        self.scale = read_scale(reader)
        self.statistics = ClassStatistics.from_state(state, "statistics.")

    def _normalised(self, features: Tensor) -> Tensor:
        return (features - self.centre) / self.spread

    def _grown_head(self, generator: torch.Generator) -> "Head":
        """Return a copy to train with an output for every class; what is new is drawn from `generator`."""
        head = Head(self.backbone.feature_width, self.config.width, len(self.classes_))
        head.draw(generator)
        if self.flexibility:
            for mine, known in zip(head.parameters(), self.head.parameters(), strict=True):
                mine.data[: len(known)] = known
        return head


def with_others(
    features: Tensor,
    targets: Tensor,
    known: ClassStatistics,
    others: Others,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Add as many draws of known classes that the task has not.

    Returned as it is where no draw could be labelled: for a wrong label it takes two such classes.

    Args:
        features: Of the task's images, `(N, D)`.
        targets: Their classes, `(N,)`.
        known: Statistics of the earlier tasks' features.
        others: See `MetaplasticityConfig`.
        generator: Source of all randomness.

    Returns:
        Features `(M, D)` and labels `(M,)`, M = N or 2 N, the task's own first.
    """
    N, D = features.shape
    mine = set(targets.tolist())
    absent = torch.tensor([k for k in range(len(known.counts)) if k not in mine])
    if others == "none" or len(absent) < (1 if others == "replayed" else 2):
        return features, targets
    ridge = 1e-2 * known.covariance.diagonal().mean().clamp(min=1e-8)
    factor = torch.linalg.cholesky(known.covariance + ridge * torch.eye(D, dtype=torch.float64))
    drawn = torch.arange(N) % len(absent)
    noise = torch.randn(N, D, dtype=torch.float64, generator=generator)
    draws = known.means[absent[drawn]] + noise @ factor.T
    labels = drawn
    if others == "permuted":
        shift = torch.randint(1, len(absent), (N,), generator=generator)
        labels = (drawn + shift) % len(absent)
    return torch.cat([features, draws.float()]), torch.cat([targets, absent[labels]])


class Head(nn.Module):
    """Three fully connected layers, as in the paper: features `(B, D)` to logits `(B, K)`."""

    def __init__(self, n_features: int, width: int, n_classes: int) -> None:
        super().__init__()
        self.first = LinearHead(n_features, width)
        self.second = LinearHead(width, width)
        self.output = LinearHead(width, n_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Map features to logits."""
        hidden = torch.relu(self.second(torch.relu(self.first(features))))
        logits: Tensor = self.output(hidden)
        return logits

    def weights(self) -> dict[str, Tensor]:
        """Return what the rule governs: everything but the biases."""
        layers = {"first": self.first, "second": self.second, "output": self.output}
        return {name: layer.weight for name, layer in layers.items()}

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> None:
        """Draw weights from Glorot's normal distribution, as the paper does; biases are 0."""
        for layer in (self.first, self.second, self.output):
            deviation = math.sqrt(2 / (layer.in_features + layer.out_features))
            layer.weight.normal_(std=deviation, generator=generator)
            layer.bias.zero_()
