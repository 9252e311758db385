"""iCaRL: a few images of each class are kept, rehearsed beside the old answers, and the nearest of their means decides.

Reference:
    Rebuffi et al., CVPR 2017, https://arxiv.org/abs/1611.07725. Differs: a fixed number of exemplars a class instead
    of a memory that is divided again by every task, so that versions share what is kept; the old answers are computed
    on every augmented batch instead of once; a task that brings more images of a known class learns their labels, and
    adds its own exemplars of the class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from models.backbone import Backbone
from models.bounds import Bounds
from models.calibration import COSINE_PRIOR
from models.errors import ConfigError
from models.fitting import derive_seed, fit
from models.head import cosine_scores
from models.kept_images import KeptImages
from models.ledger import Removal
from models.progress import Progress, ProgressFn
from models.state import StateReader
from models.strategies.base import Strategy
from models.strategies.network import LinearHead, LinearNetwork, TrainingConfig
from models.strategies.values import RawScores, Task


@dataclass(frozen=True, kw_only=True)
class ICaRLConfig(TrainingConfig):
    """Hyperparameters of iCaRL."""

    exemplars_per_class: Annotated[int, Bounds(1, 2000, "every version keeps them all")] = 20
    """Images kept of each class a task brings; 2000 for 100 classes is the paper's memory."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.exemplars_per_class < 1:
            raise ConfigError("exemplars_per_class must be positive.")


class ICaRL(Strategy[ICaRLConfig]):
    """One adapter, a sigmoid a class to train it with, and the nearest mean of exemplars to answer with."""

    name = "icarl"
    summary = "Keeps a few images of each class, and compares with their means. A baseline that needs old images."
    keeps_images = True
    unlearning = "partial"
    config_type = ICaRLConfig
    prior = COSINE_PRIOR

    def __init__(self, backbone: Backbone, config: ICaRLConfig) -> None:
        super().__init__(backbone, config)
        self.network = LinearNetwork(backbone, bottleneck=config.bottleneck)
        self.exemplars = KeptImages()
        self.means = torch.zeros(0, backbone.feature_width)
        """Mean normalised feature of each class's exemplars, `(K, D)`."""

    def _learn(self, task: Task, targets: Tensor, on_progress: ProgressFn) -> dict[str, Any]:
        seed = derive_seed(task.seed, task.index)
        device, teacher = self.backbone.device, self.network
        network = teacher.to_train(len(self.classes_), seed=seed)
        old = absent_classes(targets, teacher.n_classes).to(device)

        def loss_fn(images: Tensor, image_targets: Tensor) -> Tensor:
            with torch.no_grad():
                nothing = torch.zeros(len(images), 0, device=device)
                old_logits = teacher(images) if len(old) else nothing
            wanted = wanted_answers(image_targets, network.n_classes, old_logits, old)
            return multi_label_loss(network(images), wanted)

        images, all_targets = task.images, targets
        if len(self.exemplars):
            kept, kept_targets = self.exemplars.all()
            images, all_targets = torch.cat([images, kept]), torch.cat([targets, kept_targets])
        loss = fit(
            network.parameters(),
            images,
            all_targets,
            loss_fn,
            self.config.schedule,
            seed=seed,
            device=device,
            checkpoints=task.checkpoints,
            on_progress=on_progress,
        )
        self.network = network.freeze()
        on_progress(Progress("consolidating", 0.0))
        self._choose_exemplars(task, targets)
        self.calibrate(task)
        on_progress(Progress("consolidating", 1.0))
        return {"loss": loss, "n_exemplars": len(self.exemplars)}

    def score(self, images: Tensor) -> RawScores:
        scores = cosine_scores(self._embed(images), self.means)
        return RawScores(scores, 1 - scores.amax(dim=1))

    def _state_dict(self) -> dict[str, Tensor]:
        return {
            **self.network.state_dict(),
            **self.exemplars.state_dict(),
            "means": self.means,
        }

    def _load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.network.load_state_dict(state, len(self.classes_))
        self.exemplars = KeptImages.from_state(state, self.task_indexes_)
        reader = StateReader(state, what="the means of the exemplars")
        self.means = reader.tensor("means", (len(self.classes_), self.backbone.feature_width))

    def _forget(self, removal: Removal, images: Sequence[Task], on_progress: ProgressFn) -> str:
        self.apply_removal(removal)
        self.exemplars.drop(removal)
        head = LinearHead(self.backbone.feature_width, len(self.classes_))
        old, kept = self.network.head.state_dict(), removal.kept.to(self.backbone.device)
        head.load_state_dict({key: rows[kept] for key, rows in old.items()})
        self.network.head = head.requires_grad_(False).to(self.backbone.device)
        self._average()
        return "The adapter and the rows of the head that stay were trained with its images."

    def _choose_exemplars(self, task: Task, targets: Tensor) -> None:
        """Keep the task's exemplars, and average all classes anew: their features have moved."""
        features = self._embed(task.images)
        chosen = []
        for k in targets.unique():
            rows = (targets == k).nonzero().squeeze(1)
            chosen.append(rows[herd(features[rows], self.config.exemplars_per_class)])
        rows = torch.cat(chosen)
        self.exemplars.add(task.index, task.images[rows], targets[rows])
        self._average()

    def _average(self) -> None:
        """Compute the means of all classes from the exemplars."""
        images, kept_targets = self.exemplars.all()
        features = self._embed(images)
        self.means = torch.stack(
            [features[kept_targets == k].mean(dim=0) for k in range(len(self.classes_))]
        )

    def _embed(self, images: Tensor) -> Tensor:
        """Return features of length 1, `(N, D)`, on the CPU."""
        return F.normalize(self.backbone.embed(images, self.network.adapter).cpu(), dim=1)


def absent_classes(targets: Tensor, n_known: int) -> Tensor:
    """Return which of the first `n_known` classes a task with these targets does not show, int64."""
    known = torch.arange(n_known)
    return known[~torch.isin(known, targets)]


def wanted_answers(targets: Tensor, n_classes: int, old_logits: Tensor, old: Tensor) -> Tensor:
    """Return what the network is to answer: the label, but for old classes what was answered before.

    That holds for exemplars of old classes too: not their label counts, but what the network made of them.

    Args:
        targets: int64 `(B,)`.
        n_classes: Classes of the network that learns, K.
        old_logits: Of the network before the task, `(B, k)`, its classes being the first k.
        old: Indexes of the classes to answer as before, `(C,)`.

    Returns:
        Probabilities, each class for itself, `(B, K)`.
    """
    wanted = F.one_hot(targets, n_classes).float()
    wanted[:, old] = torch.sigmoid(old_logits[:, old])
    return wanted


def multi_label_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return the binary cross-entropy with wanted probabilities `(B, K)`: summed over classes, mean over images."""
    return F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / len(logits)


def herd(features: Tensor, n: int) -> Tensor:
    """Choose images one by one so that the mean of those chosen stays nearest to the mean of all.

    Every beginning of the choice is itself a good one. No image is chosen twice.

    Args:
        features: Of one class, `(N, D)`.
        n: How many to choose; all where there are fewer.

    Returns:
        Their rows in order of choice, int64 `(min(n, N),)`.

    Example:
        >>> herd(torch.tensor([[0.0], [1.0], [5.0]]), 2)
        tensor([1, 2])
    """
    x = features.double()
    mean, total = x.mean(dim=0), torch.zeros(x.shape[1], dtype=torch.float64)
    chosen: list[int] = []
    for k in range(1, min(n, len(x)) + 1):
        distances = (mean - (total + x) / k).norm(dim=1)
        distances[chosen] = torch.inf
        best = int(distances.argmin())
        chosen.append(best)
        total += x[best]
    return torch.tensor(chosen)
