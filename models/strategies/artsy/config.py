"""Hyperparameters of Artsy, each with its source."""

from dataclasses import dataclass
from typing import Literal

from models.dataset import Augmentation
from models.errors import ConfigError
from models.fitting import Schedule
from models.strategies.base import StrategyConfig


@dataclass(frozen=True, kw_only=True)
class ArtsyConfig(StrategyConfig):
    """Hyperparameters of Artsy.

    Fields left at None take the preset's value: `consolidated` / `paper`.
    """

    preset: Literal["consolidated", "paper"] = "consolidated"
    """`consolidated`: one functional adapter answers in one pass, silent sub-networks help where it is unsure.
    `paper`: the literal method, T + 1 passes, for comparison."""
    epochs: int | None = None
    """Passes over a task's images: 8 / 20 (the paper's)."""
    batch_size: int | None = None
    """Images a step: 16 (small tasks need the steps) / 48 (the paper's)."""
    learning_rate: float = 0.025
    """Peak of the cosine schedule; EASE's value for adapters."""
    bottleneck: int = 64
    """Width of the adapter in each block; AdaptFormer's value."""
    augmentation: Augmentation = "crop"
    """`none`, `crop`, or `crop_flip` for images that may be mirrored."""
    shrinkage: float = 0.1
    """Share of the pooled covariance replaced by a sphere, `consolidated` only; chosen, untested."""
    threshold: float | None = None
    """Current at which a synapse turns functional, in `[0, 1]`: 0.25 (chosen, untested) / 0.5 (the paper's)."""
    max_routed: int = 2
    """Silent sub-networks that may turn functional for one image, strongest first, `consolidated` only."""
    synapse_epochs: int = 2
    """Passes over the synapse's training features, `paper` only; the paper's value."""
    synapse_learning_rate: float = 0.01
    """Rate of the synapse's cosine schedule, `paper` only; the paper's value."""

    def __post_init__(self) -> None:
        counts = (self.epochs or 1, self.batch_size or 1, self.bottleneck, self.synapse_epochs)
        if min(counts) < 1 or min(self.learning_rate, self.synapse_learning_rate) <= 0:
            raise ConfigError("Epochs, batch size, bottleneck and learning rates must be positive.")
        if not 0 <= self.shrinkage <= 1 or not 0 <= (self.threshold or 0.0) <= 1:
            raise ConfigError("shrinkage and threshold must lie between 0 and 1.")
        if self.max_routed < 0:
            raise ConfigError("max_routed must not be negative.")

    @property
    def schedule(self) -> Schedule:
        """How a sub-network is trained."""
        paper = self.preset == "paper"
        return Schedule(
            epochs=self.epochs or (20 if paper else 8),
            batch_size=self.batch_size or (48 if paper else 16),
            learning_rate=self.learning_rate,
            augmentation=self.augmentation,
        )

    @property
    def firing_threshold(self) -> float:
        """Current at which a synapse turns functional."""
        if self.threshold is not None:
            return self.threshold
        return 0.5 if self.preset == "paper" else 0.25
