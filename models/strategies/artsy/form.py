"""What the two forms of Artsy share: their interface, and the training of a sub-network."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from models.adapter import Adapter
from models.backbone import Backbone
from models.calibration import Calibration
from models.ledger import Removal
from models.progress import ProgressFn
from models.strategies.artsy.config import ArtsyConfig
from models.strategies.subnetwork import train_subnetwork
from models.strategies.values import RawScores, Task


class Form(ABC):
    """One way to learn and answer with sub-networks and synapses."""

    prior: ClassVar[float]
    """As in `Strategy`."""

    def __init__(self, backbone: Backbone, config: ArtsyConfig) -> None:
        self.backbone = backbone
        self.config = config
        self.calibration = Calibration(prior=self.prior)
        """The strategy's own, which stores it and takes unlearned tasks out of it."""

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
    def unlearn(self, removal: Removal) -> str:
        """Take out what `removal` names.

        Returns:
            What in the scores still carries a trace, in one sentence; empty where nothing does.
        """

    @abstractmethod
    def score(self, images: Tensor) -> RawScores:
        """Score uint8 images `(B, 3, H, W)`."""

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Return everything learned but the calibration, as `Strategy.state_dict` says."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Tensor], task_indexes: tuple[int, ...]) -> None:
        """Take over what `state_dict` returned, for tasks of these indexes."""

    def train_subnetwork(
        self, task: Task, targets: Tensor, start: Adapter | None, on_progress: ProgressFn
    ) -> tuple[Adapter, float | None]:
        """Train the task's sub-network from `start`, or a fresh one; see `models.strategies.subnetwork`."""
        return train_subnetwork(
            self.backbone,
            task,
            targets,
            bottleneck=self.config.bottleneck,
            schedule=self.config.schedule,
            start=start,
            on_progress=on_progress,
        )
