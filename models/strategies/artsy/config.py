"""Hyperparameters of Artsy, each with its source."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from models.backbone import Backbone, Pooling
from models.bounds import BatchSize, Bottleneck, Bounds, Epochs, PositiveShare, Rate, Share
from models.dataset import Augmentation
from models.errors import ConfigError
from models.fitting import Precision, Schedule
from models.strategies.base import StrategyConfig

Adapting = Literal["evidence", "always", "never"]


@dataclass(frozen=True, kw_only=True)
class ArtsyConfig(StrategyConfig):
    """Hyperparameters of Artsy."""

    adapt: Adapting = "evidence"
    """When a task moves the functional adapter: where images left out say that it helps, `always`, or `never`."""
    epochs: Epochs = 8
    """Passes over a task's images."""
    batch_size: BatchSize = 16
    """Images a step: small tasks need the steps."""
    least_steps: Annotated[int, Bounds(0, 100_000, "each takes a batch")] = 200
    """Steps that a training makes at least, in more epochs where images are few: with fewer, features hardly move."""
    learning_rate: Rate = 0.1
    """Peak of the cosine schedule. EASE's 0.025 hardly moves features within few steps."""
    bottleneck: Bottleneck = 64
    """Width of the adapter in each block; AdaptFormer's value."""
    trained_share: Share = 0.0
    """Share of the backbone's blocks, the last ones, that a sub-network is trained in; those below stay as they are.
    0 is what suits the backbone: the last two of `bundled`, all of others."""
    views: Annotated[int, Bounds(0, 100, "each is a pass more for an image")] = 3
    """Augmented views of an image that a training shows, drawn once; 0 draws each anew, and takes twice as long."""
    patch_share: PositiveShare = 1.0
    """Share of the patches of a view that a step shows, others each time (PatchDropout, Liu et al. 2023); 1 is all."""
    augmentation: Augmentation = "crop"
    """`none`, `crop`, or `crop_flip` for images that may be mirrored."""
    precision: Precision = "auto"
    """Of training: `float32`, or `bfloat16` where the processor is faster at it."""
    pooling: Pooling = "token_and_patches"
    """What heads read of a pass. `backbone` is half as wide."""
    novelty_false_alarms: Share = 0.05
    """Share of images of known classes that may be answered as not known."""
    threshold: Share = 0.25
    """Current at which a synapse turns functional, in `[0, 1]`; chosen, untested."""
    max_routed: Annotated[int, Bounds(0, 100, "each is a pass more for an image")] = 2
    """Silent sub-networks that may turn functional for one image, strongest first."""

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size, self.bottleneck) < 1 or self.learning_rate <= 0:
            raise ConfigError("Epochs, batch size, bottleneck and learning rate must be positive.")
        if not 0 <= self.threshold <= 1 or not 0 <= self.novelty_false_alarms <= 1:
            raise ConfigError("threshold and novelty_false_alarms must lie between 0 and 1.")
        if min(self.max_routed, self.least_steps, self.views) < 0:
            raise ConfigError("max_routed, least_steps and views must not be negative.")
        if not 0 <= self.trained_share <= 1:
            raise ConfigError("trained_share must lie between 0 and 1.")
        if not 0 < self.patch_share <= 1:
            raise ConfigError("patch_share must be above 0, and at most 1.")

    def first_trained(self, backbone: Backbone) -> int:
        """Return the index of the backbone's first block that is trained."""
        if self.trained_share == 0:
            return backbone.first_to_train
        return backbone.depth - math.ceil(self.trained_share * backbone.depth)

    def schedule(self, n_images: int) -> Schedule:
        """Return how a sub-network is trained on so many images."""
        steps_an_epoch = math.ceil(n_images / self.batch_size)
        return Schedule(
            epochs=max(self.epochs, math.ceil(self.least_steps / steps_an_epoch)),
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            augmentation=self.augmentation,
            precision=self.precision,
        )
