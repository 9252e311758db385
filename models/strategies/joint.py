"""Joint training: after each task a fresh network learns everything seen so far at once. The upper bound.

It keeps every image, and a task costs as much as all tasks before it together: what continual learning is to avoid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from models.adapter import Adapter, adapter_state, load_adapter
from models.backbone import Backbone
from models.checkpoint import NO_CHECKPOINTS, Checkpoints
from models.fitting import derive_seed, fit, seeded
from models.head import CosineHead, cosine_scores
from models.kept_images import KeptImages
from models.ledger import Removal
from models.progress import ProgressFn
from models.state import StateReader
from models.strategies.base import Strategy
from models.strategies.network import TrainingConfig, fresh_adapter, strangeness
from models.strategies.values import RawScores, Task


@dataclass(frozen=True, kw_only=True)
class JointConfig(TrainingConfig):
    """Hyperparameters of joint training."""


class Joint(Strategy[JointConfig]):
    """A fresh adapter and cosine head a task, trained on all images of all tasks."""

    name = "joint"
    summary = "Keeps all images and trains anew on everything after each task: the upper bound, at full cost."
    keeps_images = True
    unlearning = "exact"
    config_type = JointConfig

    def __init__(self, backbone: Backbone, config: JointConfig) -> None:
        super().__init__(backbone, config)
        self.kept = KeptImages()
        self.seeds: dict[int, int] = {}
        """Seed of each task: the network of the newest one is drawn from its."""
        self.adapter: Adapter | None = None
        self.weight = torch.zeros(0, backbone.feature_width)
        """Row of the cosine head for each class, `(K, D)`."""
        self.scale = torch.tensor(1.0)

    def _learn(self, task: Task, targets: Tensor, on_progress: ProgressFn) -> dict[str, Any]:
        self.kept.add(task.index, task.images, targets)
        self.seeds[task.index] = task.seed
        loss = self._train(task.checkpoints, on_progress)
        self.calibrate(task)
        return {"loss": loss, "n_images_kept": len(self.kept)}

    def score(self, images: Tensor) -> RawScores:
        features = self.backbone.embed(images, self.adapter).cpu()
        logits = self.scale * cosine_scores(features, self.weight)
        return RawScores(logits, strangeness(logits))

    def _state_dict(self) -> dict[str, Tensor]:
        state = {"head.weight": self.weight, "head.scale": self.scale}
        state["seeds"] = torch.tensor(
            [self.seeds[index] for index in self.task_indexes_], dtype=torch.int64
        )
        if self.adapter is not None:
            state |= adapter_state(self.adapter, "adapter.")
        return state | self.kept.state_dict()

    def _load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        head = StateReader(state, "head.", what="the head")
        self.weight = head.tensor("weight", (len(self.classes_), self.backbone.feature_width))
        self.scale = head.tensor("scale", ())
        if self.classes_:
            self.adapter = load_adapter(
                state,
                "adapter.",
                width=self.backbone.feature_width,
                depth=self.backbone.depth,
                bottleneck=self.config.bottleneck,
            ).to(self.backbone.device)
        self.kept = KeptImages.from_state(state, self.task_indexes_)
        reader = StateReader(state, what="the seeds of the tasks")
        seeds = reader.tensor("seeds", (len(self.task_indexes_),), torch.int64)
        self.seeds = dict(zip(self.task_indexes_, map(int, seeds.tolist()), strict=True))

    def _forget(self, removal: Removal, images: Sequence[Task], on_progress: ProgressFn) -> str:
        self.apply_removal(removal)
        self.kept.drop(removal)
        self.seeds = {index: self.seeds[index] for index in self.task_indexes_}
        self._train(NO_CHECKPOINTS, on_progress)
        return ""

    def _train(self, checkpoints: Checkpoints, on_progress: ProgressFn) -> float:
        """Train a fresh network on everything that is kept, as the newest task says; return its last mean loss."""
        images, targets = self.kept.all()
        newest = self.task_indexes_[-1]
        seed = derive_seed(self.seeds[newest], newest)
        adapter = fresh_adapter(self.backbone, self.config.bottleneck, seed=seed)
        with seeded(seed):
            head = CosineHead(self.backbone.feature_width, len(self.classes_))
        head.to(self.backbone.device)

        def loss_fn(batch: Tensor, batch_targets: Tensor) -> Tensor:
            return F.cross_entropy(head(self.backbone(batch, adapter)), batch_targets)

        loss = fit(
            [*adapter.parameters(), *head.parameters()],
            images,
            targets,
            loss_fn,
            self.config.schedule,
            seed=seed,
            device=self.backbone.device,
            checkpoints=checkpoints,
            on_progress=on_progress,
        )
        self.adapter = adapter.freeze()
        self.weight, self.scale = head.weight.detach().cpu(), head.scale.detach().cpu()
        return loss
