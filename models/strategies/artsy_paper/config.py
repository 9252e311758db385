"""Hyperparameters of the paper's literal method, each with its source."""

from dataclasses import dataclass
from typing import Literal

from models.bounds import BatchSize, Bottleneck, Epochs, PositiveShare, Rate, Share
from models.dataset import Augmentation
from models.errors import ConfigError
from models.fitting import Precision, Schedule
from models.strategies.base import StrategyConfig


@dataclass(frozen=True, kw_only=True)
class ArtsyPaperConfig(StrategyConfig):
    """Hyperparameters of the paper's literal method."""

    epochs: Epochs = 20
    """Passes over a task's images; the paper's value."""
    batch_size: BatchSize = 48
    """Images a step; the paper's value."""
    learning_rate: Rate = 0.025
    """Peak of the cosine schedule; EASE's value for adapters."""
    bottleneck: Bottleneck = 64
    """Width of the adapter in each block; AdaptFormer's value."""
    augmentation: Augmentation = "crop"
    """`none`, `crop`, or `crop_flip` for images that may be mirrored."""
    precision: Precision = "auto"
    """Of training: `float32`, or `bfloat16` where the processor is faster at it."""
    threshold: Share = 0.5
    """Current at which a synapse turns functional, in `[0, 1]`; the paper's value."""
    synapse_epochs: Epochs = 2
    """Passes over the synapse's training features; the paper's value."""
    synapse_learning_rate: Rate = 0.01
    """Rate of the synapse's cosine schedule; the paper's value."""
    combine: Literal["sum", "concat"] = "sum"
    """How functional branches answer together. `sum`: their features add (literal, Eq. 5). `concat`: each scores by its
    own cosine, and the scores add."""
    gate_input: Literal["sum", "h0"] = "sum"
    """What a synapse reads. `sum`: the features of all branches up to its own (literal, Eq. 3). `h0`: the frozen
    backbone's, so that only functional branches cost a pass."""
    gates: Literal["frozen", "reconsolidate"] = "frozen"
    """What later tasks do to a synapse. `frozen`: nothing (literal). `reconsolidate`: after each task all synapses are
    fitted anew, to replayed features of every class, so that they know later tasks too."""
    gate_recall: PositiveShare | None = None
    """Share of its task's held-out images that each synapse shall fire on, in `(0, 1]`; it sets the synapse's
    threshold. None: `threshold` for all (literal)."""

    def __post_init__(self) -> None:
        counts = (self.epochs, self.batch_size, self.bottleneck, self.synapse_epochs)
        if min(counts) < 1 or min(self.learning_rate, self.synapse_learning_rate) <= 0:
            raise ConfigError("Epochs, batch size, bottleneck and learning rates must be positive.")
        if not 0 <= self.threshold <= 1:
            raise ConfigError("threshold must lie between 0 and 1.")
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
        return Schedule(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            augmentation=self.augmentation,
            precision=self.precision,
        )

    @property
    def replays_inputs(self) -> bool:
        """Whether what synapses read is kept class by class, to draw it again later."""
        return self.gates == "reconsolidate" or self.gate_input == "h0"
