"""Hyperparameters of Artsy, each with its source."""

from dataclasses import dataclass
from typing import Annotated, Literal

from models.bounds import (
    BatchSize,
    Bottleneck,
    Bounds,
    Epochs,
    Factor,
    PositiveShare,
    Rate,
    Share,
)
from models.dataset import Augmentation
from models.errors import ConfigError
from models.fitting import Precision, Schedule
from models.strategies.base import StrategyConfig


@dataclass(frozen=True, kw_only=True)
class ArtsyConfig(StrategyConfig):
    """Hyperparameters of Artsy.

    Fields left at None take the preset's value: `consolidated` / `paper`.
    """

    preset: Literal["consolidated", "paper"] = "consolidated"
    """`consolidated`: one functional adapter answers in one pass, silent sub-networks help where it is unsure.
    `paper`: the literal method, T + 1 passes, for comparison."""
    epochs: Epochs | None = None
    """Passes over a task's images: 8 / 20 (the paper's)."""
    batch_size: BatchSize | None = None
    """Images a step: 16 (small tasks need the steps) / 48 (the paper's)."""
    learning_rate: Rate = 0.025
    """Peak of the cosine schedule; EASE's value for adapters."""
    bottleneck: Bottleneck = 64
    """Width of the adapter in each block; AdaptFormer's value."""
    augmentation: Augmentation = "crop"
    """`none`, `crop`, or `crop_flip` for images that may be mirrored."""
    precision: Precision = "auto"
    """Of training: `float32`, or `bfloat16` where the processor is faster at it."""
    shrinkage: Share = 0.1
    """Share of the pooled covariance replaced by a sphere, `consolidated` only; 0.05 to 0.4 make little difference."""
    covariance_prior: Factor | None = 4.0
    """How many images the pooled covariance is worth to a class that has its own, as a multiple of the feature width,
    `consolidated` only. None: all classes share one."""
    threshold: Share | None = None
    """Current at which a synapse turns functional, in `[0, 1]`: 0.25 (chosen, untested) / 0.5 (the paper's)."""
    max_routed: Annotated[int, Bounds(0, 100, "each is a pass more for an image")] = 2
    """Silent sub-networks that may turn functional for one image, strongest first, `consolidated` only."""
    synapse_epochs: Epochs = 2
    """Passes over the synapse's training features, `paper` only; the paper's value."""
    synapse_learning_rate: Rate = 0.01
    """Rate of the synapse's cosine schedule, `paper` only; the paper's value."""
    combine: Literal["sum", "concat"] = "sum"
    """How functional branches answer together, `paper` only. `sum`: their features add (literal, Eq. 5). `concat`: each
    scores by its own cosine, and the scores add."""
    gate_input: Literal["sum", "h0"] = "sum"
    """What a synapse reads, `paper` only. `sum`: the features of all branches up to its own (literal, Eq. 3). `h0`: the
    frozen backbone's, so that only functional branches cost a pass."""
    gates: Literal["frozen", "reconsolidate"] = "frozen"
    """What later tasks do to a synapse, `paper` only. `frozen`: nothing (literal). `reconsolidate`: after each task all
    synapses are fitted anew, to replayed features of every class, so that they know later tasks too."""
    gate_recall: PositiveShare | None = None
    """Share of its task's held-out images that each synapse shall fire on, in `(0, 1]`, `paper` only; it sets the
    synapse's threshold. None: `threshold` for all (literal)."""

    def __post_init__(self) -> None:
        counts = (self.epochs or 1, self.batch_size or 1, self.bottleneck, self.synapse_epochs)
        if min(counts) < 1 or min(self.learning_rate, self.synapse_learning_rate) <= 0:
            raise ConfigError("Epochs, batch size, bottleneck and learning rates must be positive.")
        if not 0 <= self.shrinkage <= 1 or not 0 <= (self.threshold or 0.0) <= 1:
            raise ConfigError("shrinkage and threshold must lie between 0 and 1.")
        if self.covariance_prior is not None and self.covariance_prior <= 0:
            raise ConfigError("covariance_prior must be positive, or none at all.")
        if self.max_routed < 0:
            raise ConfigError("max_routed must not be negative.")
        if self.gate_recall is not None and not 0 < self.gate_recall <= 1:
            raise ConfigError("gate_recall must lie above 0 and not above 1, or be none at all.")
        if (
            self.combine not in ("sum", "concat")
            or self.gate_input not in ("sum", "h0")
            or self.gates not in ("frozen", "reconsolidate")
        ):
            raise ConfigError(
                "combine is sum or concat, gate_input sum or h0, gates frozen or reconsolidate."
            )

    @property
    def schedule(self) -> Schedule:
        """How a sub-network is trained."""
        paper = self.preset == "paper"
        return Schedule(
            epochs=self.epochs or (20 if paper else 8),
            batch_size=self.batch_size or (48 if paper else 16),
            learning_rate=self.learning_rate,
            augmentation=self.augmentation,
            precision=self.precision,
        )

    @property
    def firing_threshold(self) -> float:
        """Current at which a synapse turns functional."""
        if self.threshold is not None:
            return self.threshold
        return 0.5 if self.preset == "paper" else 0.25

    @property
    def replays_inputs(self) -> bool:
        """Whether what synapses read is kept class by class, to draw it again later."""
        return self.gates == "reconsolidate" or self.gate_input == "h0"
