"""What the two forms of Artsy share: their interface, and the training of a sub-network."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from models.adapter import Adapter
from models.backbone import Backbone
from models.fitting import derive_seed, fit, seeded
from models.head import CosineHead
from models.progress import ProgressFn
from models.strategies.artsy.config import ArtsyConfig
from models.strategies.base import Prediction, Task


class Form(ABC):
    """One way to learn and answer with sub-networks and synapses."""

    def __init__(self, backbone: Backbone, config: ArtsyConfig) -> None:
        self.backbone = backbone
        self.config = config

    @abstractmethod
    def learn(
        self,
        task: Task,
        targets: Tensor,
        held_out: tuple[Tensor, Tensor],
        on_progress: ProgressFn,
    ) -> dict[str, Any]:
        """Learn a task whose classes are registered.

        Args:
            task: The task's images and seed.
            targets: Class index of each image, int64 `(N,)`; new classes come right after the known ones.
            held_out: Images and targets to calibrate on.
            on_progress: Told about `training` and `consolidating`.

        Returns:
            JSON-serialisable details for the learning report.
        """

    @abstractmethod
    def predict(self, images: Tensor) -> Prediction:
        """Score uint8 images `(B, 3, H, W)`."""

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Return everything learned, as `Strategy.state_dict` says."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Tensor], task_indexes: tuple[int, ...]) -> None:
        """Take over what `state_dict` returned, for tasks of these indexes."""

    def fresh_adapter(self, task: Task) -> Adapter:
        """Return a new sub-network that changes nothing yet, seeded by the task."""
        with seeded(derive_seed(task.seed, task.index, 1)):
            adapter = Adapter(
                width=self.backbone.feature_width,
                depth=self.backbone.depth,
                bottleneck=self.config.bottleneck,
            )
        return adapter.to(self.backbone.device)

    def train_subnetwork(
        self, adapter: Adapter, task: Task, targets: Tensor, on_progress: ProgressFn
    ) -> float | None:
        """Train `adapter` in place with a throw-away cosine head over the task's classes, then freeze it.

        Returns:
            The last epoch's mean loss; None for a task of one class, which leaves nothing to tell apart.
        """
        classes, local_targets = targets.unique(return_inverse=True)
        if len(classes) < 2:
            adapter.freeze()
            return None
        seed = derive_seed(task.seed, task.index, 2)
        with seeded(seed):
            head = CosineHead(self.backbone.feature_width, len(classes)).to(self.backbone.device)

        def loss_fn(images: Tensor, image_targets: Tensor) -> Tensor:
            return F.cross_entropy(head(self.backbone(images, adapter)), image_targets)

        adapter.requires_grad_(True).train()
        loss = fit(
            [*adapter.parameters(), *head.parameters()],
            task.images,
            local_targets,
            loss_fn,
            self.config.schedule,
            seed=seed,
            device=self.backbone.device,
            on_progress=on_progress,
        )
        adapter.freeze()
        return loss
