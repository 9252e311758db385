"""Hyperparameters of the default of earlier releases, each with its source."""

from dataclasses import dataclass
from typing import Annotated

from models.bounds import BatchSize, Bottleneck, Bounds, Epochs, Factor, Rate, Share
from models.dataset import Augmentation
from models.errors import ConfigError
from models.fitting import Precision, Schedule
from models.strategies.base import StrategyConfig


@dataclass(frozen=True, kw_only=True)
class ArtsyGaussianConfig(StrategyConfig):
    """Hyperparameters of Artsy with a Gaussian head."""

    epochs: Epochs = 8
    """Passes over a task's images."""
    batch_size: BatchSize = 16
    """Images a step: small tasks need the steps."""
    learning_rate: Rate = 0.025
    """Peak of the cosine schedule; EASE's value for adapters."""
    bottleneck: Bottleneck = 64
    """Width of the adapter in each block; AdaptFormer's value."""
    augmentation: Augmentation = "crop"
    """`none`, `crop`, or `crop_flip` for images that may be mirrored."""
    precision: Precision = "auto"
    """Of training: `float32`, or `bfloat16` where the processor is faster at it."""
    shrinkage: Share = 0.1
    """Share of the pooled covariance replaced by a sphere; 0.05 to 0.4 make little difference."""
    covariance_prior: Factor | None = 4.0
    """How many images the pooled covariance is worth to a class that has its own, as a multiple of the feature width.
    None: all classes share one."""
    threshold: Share = 0.25
    """Current at which a synapse turns functional, in `[0, 1]`; chosen, untested."""
    max_routed: Annotated[int, Bounds(0, 100, "each is a pass more for an image")] = 2
    """Silent sub-networks that may turn functional for one image, strongest first."""

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size, self.bottleneck) < 1 or self.learning_rate <= 0:
            raise ConfigError("Epochs, batch size, bottleneck and learning rate must be positive.")
        if not 0 <= self.shrinkage <= 1 or not 0 <= self.threshold <= 1:
            raise ConfigError("shrinkage and threshold must lie between 0 and 1.")
        if self.covariance_prior is not None and self.covariance_prior <= 0:
            raise ConfigError("covariance_prior must be positive, or none at all.")
        if self.max_routed < 0:
            raise ConfigError("max_routed must not be negative.")

    @property
    def schedule(self) -> Schedule:
        """How a sub-network is trained."""
        return Schedule(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            augmentation=self.augmentation,
            precision=self.precision,
        )
