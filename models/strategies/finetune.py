"""Plain sequential training of one shared adapter and one growing head: the honest lower bound. It forgets."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import skip_init

from models.adapter import Adapter, adapter_state, load_adapter
from models.backbone import Backbone
from models.calibration import LOGIT_PRIOR, Calibration
from models.dataset import Augmentation
from models.errors import CheckpointError, ConfigError
from models.fitting import Schedule, derive_seed, fit, seeded
from models.progress import ProgressFn, ignore_progress
from models.strategies.base import LearningReport, Prediction, Strategy, StrategyConfig, Task


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(StrategyConfig):
    """Hyperparameters of sequential fine-tuning; the same training as `artsy` uses, so the two compare."""

    epochs: int = 8
    """Passes over a task's images."""
    batch_size: int = 16
    """Images a step."""
    learning_rate: float = 0.025
    """Peak of the cosine schedule; EASE's value for adapters."""
    bottleneck: int = 64
    """Width of the adapter in each block; AdaptFormer's value."""
    augmentation: Augmentation = "crop"
    """`none`, `crop`, or `crop_flip` for images that may be mirrored."""

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size, self.bottleneck) < 1 or self.learning_rate <= 0:
            raise ConfigError("epochs, batch_size, bottleneck and learning_rate must be positive.")


class Finetune(Strategy[FinetuneConfig]):
    """One adapter and one linear head, trained on each task in turn with nothing to protect the old ones."""

    name = "finetune"
    summary = "Plain sequential training of one adapter and head: the lower bound, it forgets."
    config_type = FinetuneConfig

    def __init__(self, backbone: Backbone, config: FinetuneConfig) -> None:
        super().__init__(backbone, config)
        self.adapter: Adapter | None = None
        self.weight = torch.zeros(0, backbone.feature_width)
        self.bias = torch.zeros(0)
        self.calibration = Calibration(prior=LOGIT_PRIOR)

    def learn(self, task: Task, on_progress: ProgressFn = ignore_progress) -> LearningReport:
        started = time.perf_counter()
        targets = self.register(task)
        seed = derive_seed(task.seed, task.index)
        adapter = self._adapter_to_train(seed)
        head = self._grown_head().to(self.backbone.device)

        def loss_fn(images: Tensor, image_targets: Tensor) -> Tensor:
            return F.cross_entropy(head(self.backbone(images, adapter)), image_targets)

        config = self.config
        loss = fit(
            [*adapter.parameters(), *head.parameters()],
            task.images,
            targets,
            loss_fn,
            Schedule(
                epochs=config.epochs,
                batch_size=config.batch_size,
                learning_rate=config.learning_rate,
                augmentation=config.augmentation,
            ),
            seed=seed,
            device=self.backbone.device,
            on_progress=on_progress,
        )
        self.adapter = adapter.freeze()
        self.weight, self.bias = head.weight.detach().cpu(), head.bias.detach().cpu()
        images, image_targets = self.calibration_set(task)
        logits = self.predict_logits(images)
        self.calibration.add(logits, image_targets, _strangeness(logits))
        details = {"loss": loss, "temperature": self.calibration.temperature.value}
        return LearningReport(len(task.images), time.perf_counter() - started, details)

    def predict_logits(self, images: Tensor) -> Tensor:
        self.require_learned()
        return F.linear(self.backbone.embed(images, self.adapter).cpu(), self.weight, self.bias)

    def predict(self, images: Tensor) -> Prediction:
        logits = self.predict_logits(images)
        novelty = self.calibration.familiarity.novelty(_strangeness(logits))
        return self.without_routes(self.calibration.probabilities(logits), novelty)

    def state_dict(self) -> dict[str, Tensor]:
        state = {"head.weight": self.weight, "head.bias": self.bias}
        if self.adapter is not None:
            state |= adapter_state(self.adapter, "adapter.")
        return state | self.calibration.state_dict("calibration.")

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        try:
            self.weight, self.bias = state["head.weight"], state["head.bias"]
        except KeyError as error:
            raise CheckpointError("The head is missing from the artifact.") from error
        if self.classes_:
            self.adapter = load_adapter(
                state,
                "adapter.",
                width=self.backbone.feature_width,
                depth=self.backbone.depth,
                bottleneck=self.config.bottleneck,
            ).to(self.backbone.device)
        self.calibration.load_state_dict(state, "calibration.")

    def _adapter_to_train(self, seed: int) -> Adapter:
        if self.adapter is not None:
            return self.adapter.clone().requires_grad_(True).train()
        with seeded(seed):
            fresh = Adapter(
                width=self.backbone.feature_width,
                depth=self.backbone.depth,
                bottleneck=self.config.bottleneck,
            )
        return fresh.to(self.backbone.device).train()

    def _grown_head(self) -> nn.Linear:
        """Return the head with zero rows for the classes it does not know yet."""
        head: nn.Linear = skip_init(nn.Linear, self.backbone.feature_width, len(self.classes_))
        with torch.no_grad():
            head.weight.zero_()
            head.bias.zero_()
            head.weight[: len(self.weight)] = self.weight
            head.bias[: len(self.bias)] = self.bias
        return head


def _strangeness(logits: Tensor) -> Tensor:
    """Return a positive distance that grows as the evidence for every class falls, `(B,)`.

    The free energy of the logits, through a softplus: Liu et al., 2020, https://arxiv.org/abs/2010.03759.
    """
    return F.softplus(-torch.logsumexp(logits, dim=1))
