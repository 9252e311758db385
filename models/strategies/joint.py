"""Joint training: after each task a fresh network learns everything seen so far at once. The upper bound.

It keeps every image, and a task costs as much as all tasks before it together: what continual learning is to avoid.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.adapter import Adapter, adapter_state, load_adapter
from models.backbone import Backbone
from models.calibration import LOGIT_PRIOR, Calibration
from models.checkpoint import NO_CHECKPOINTS, Checkpoints
from models.fitting import derive_seed, fit, seeded
from models.head import CosineHead, cosine_scores
from models.kept_images import KeptImages
from models.ledger import Ledger, Removal
from models.progress import ProgressFn, ignore_progress
from models.state import StateReader
from models.strategies.base import LearningReport, Prediction, Strategy, Task
from models.strategies.network import TrainingConfig, fresh_adapter, strangeness


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
        self.calibration = Calibration(prior=LOGIT_PRIOR)

    def learn(self, task: Task, on_progress: ProgressFn = ignore_progress) -> LearningReport:
        started = time.perf_counter()
        self.kept.add(task.index, task.images, self.register(task))
        self.seeds[task.index] = task.seed
        loss = self._train(task.checkpoints, on_progress)
        held_out, held_out_targets = self.calibration_set(task)
        logits = self.predict_logits(held_out)
        self.calibration.add(logits, held_out_targets, strangeness(logits), task=task.index)
        details = {
            "loss": loss,
            "temperature": self.calibration.temperature.value,
            "n_images_kept": len(self.kept),
        }
        return LearningReport(len(task.images), time.perf_counter() - started, details)

    def predict_logits(self, images: Tensor) -> Tensor:
        self.require_learned()
        features = self.backbone.embed(images, self.adapter).cpu()
        return self.scale * cosine_scores(features, self.weight)

    def predict(self, images: Tensor) -> Prediction:
        logits = self.predict_logits(images)
        novelty = self.calibration.familiarity.novelty(strangeness(logits))
        return self.without_routes(self.calibration.probabilities(logits), novelty)

    def state_dict(self) -> dict[str, Tensor]:
        state = {"head.weight": self.weight, "head.scale": self.scale} | self.ledger.state_dict()
        state["seeds"] = torch.tensor(
            [self.seeds[index] for index in self.task_indexes_], dtype=torch.int64
        )
        if self.adapter is not None:
            state |= adapter_state(self.adapter, "adapter.")
        return state | self.kept.state_dict() | self.calibration.state_dict("calibration.")

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
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
        self.ledger = Ledger.from_state(state, self.task_indexes_, len(self.classes_))
        self.kept = KeptImages.from_state(state, self.task_indexes_)
        reader = StateReader(state, what="the seeds of the tasks")
        seeds = reader.tensor("seeds", (len(self.task_indexes_),), torch.int64)
        self.seeds = dict(zip(self.task_indexes_, map(int, seeds.tolist()), strict=True))
        self.calibration.load_state_dict(state, "calibration.")

    def _forget(self, removal: Removal, images: Sequence[Task], on_progress: ProgressFn) -> str:
        self.strike(removal)
        self.kept.drop(removal)
        self.seeds = {index: self.seeds[index] for index in self.task_indexes_}
        self.calibration.drop(removal.tasks)
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
