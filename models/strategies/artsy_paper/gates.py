"""Gates of the paper's method: a synapse whose current is trained, and Gaussians that stand in for images long gone."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from models.checkpoint import NO_CHECKPOINTS, Checkpoints
from models.fitting import Schedule, seeded
from models.state import StateReader
from models.statistics import ClassRecords
from models.strategies.artsy_paper.config import ArtsyPaperConfig
from models.strategies.artsy_paper.network import SynapseNetwork
from models.synapse import Synapse

SLACK = 1e-4
"""Share of a threshold that is given away: images in a batch of another size have slightly other currents."""


@dataclass(frozen=True)
class Gate(Synapse):
    """A task's synapse, whose current a trained network gives. Its threshold holds once that has seen a negative."""

    network: SynapseNetwork
    measured: float | None = None
    """Of a synapse that is fitted anew: the threshold that images of its task asked for when the task was the newest.
    None where thresholds do not depend on images, or since unlearning has changed what the synapse was then."""

    def state_dict(self, config: ArtsyPaperConfig, index: int) -> dict[str, Tensor]:
        """Return the gate of task `index`: below the task's prefix if it never changes."""
        prefix = gate_prefix(config, index)
        state = {f"{prefix}synapse.{k}": v.cpu() for k, v in self.network.state_dict().items()}
        if config.gate_recall is not None:
            state[f"{prefix}threshold"] = torch.tensor(self.threshold, dtype=torch.float64)
        if self.measured is not None:
            state[f"{prefix}measured"] = torch.tensor(self.measured, dtype=torch.float64)
        return state

    @classmethod
    def from_state(
        cls, state: Mapping[str, Tensor], config: ArtsyPaperConfig, index: int, width: int
    ) -> "Gate":
        """Rebuild from what `state_dict` returned.

        Raises:
            CheckpointError: If a tensor is missing or has the wrong shape.
        """
        prefix, what = gate_prefix(config, index), f"the synapse of task {index}"
        network = StateReader(state, f"{prefix}synapse.", what=what).module(
            lambda: SynapseNetwork(width)
        )
        reader = StateReader(state, prefix, what=what)
        has_own = config.gate_recall is not None
        threshold = reader.number("threshold") if has_own else config.threshold
        measured = reader.number("measured") if "measured" in reader else None
        return cls(threshold, network, measured)


@dataclass(frozen=True)
class SharedGaussians:
    """Gaussians of one covariance around the centres of some classes. Shapes: C classes, D feature width."""

    centres: Tensor
    """Float32 `(C, D)`; C may be 0."""
    covariance: Tensor
    """Float64 `(D, D)`."""

    def draw(self, n: int) -> Tensor:
        """Draw `n` features, `(n, D)`, from torch's global generator: evenly from all classes. None without a class."""
        if not len(self.centres):
            return self.centres
        jitter = 1e-4 * self.covariance.diagonal().mean().clamp(min=1e-8)
        identity = torch.eye(len(self.covariance), dtype=torch.float64)
        factor = torch.linalg.cholesky(self.covariance + jitter * identity)
        chosen = self.centres[torch.arange(n) % len(self.centres)]
        noise = torch.randn(n, self.centres.shape[1], dtype=torch.float64)
        drawn: Tensor = chosen + (noise @ factor.T).float()
        return drawn


@dataclass(frozen=True)
class Replay:
    """What drawing a task's images anew, as its synapse reads them, and fitting the synapse again needs."""

    records: ClassRecords
    """Of the task's own images, in the order of its classes."""
    seed: int
    """Of the synapse's first weights, its training, and everything that is drawn for it."""

    @classmethod
    def of(cls, inputs: Tensor, targets: Tensor, *, seed: int) -> "Replay":
        """Take down what the synapse reads of its task's images, `(N, D)`, class by class in the order of targets."""
        classes, local_targets = targets.unique(return_inverse=True)
        return cls(ClassRecords.of(inputs, local_targets, len(classes)), seed)

    def state_dict(self, index: int) -> dict[str, Tensor]:
        """Return the tensors under prefixed keys."""
        return {
            **self.records.state_dict(f"tasks.{index}.replay."),
            f"tasks.{index}.replay.seed": torch.tensor(self.seed),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], index: int) -> "Replay":
        """Rebuild from what `state_dict` returned.

        Raises:
            CheckpointError: If a tensor is missing or the shapes do not fit together.
        """
        prefix = f"tasks.{index}.replay."
        reader = StateReader(state, prefix, what=f"the synapse of task {index}")
        return cls(ClassRecords.from_state(state, prefix), reader.integer("seed"))


def gate_prefix(config: ArtsyPaperConfig, index: int) -> str:
    """Return where a gate's weights are kept: with its task, unless later tasks change them."""
    return f"tasks.{index}." if config.gates == "frozen" else f"gates.{index}."


def fit_synapse(
    own: Tensor | SharedGaussians,
    others: SharedGaussians,
    n: int,
    config: ArtsyPaperConfig,
    *,
    seed: int,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
) -> tuple[SynapseNetwork, Tensor, float | None]:
    """Train a synapse's network to tell its task from `others`, of which as many features are drawn: that is balanced.

    Args:
        own: What the synapse reads of the task's images, `(n, D)`, or where to draw it from.
        others: Of the classes to tell it from.
        n: Features of each side.
        config: Epochs, batch size, rate.
        seed: Of the first weights, the draws and the order of training.
        checkpoints: Of the training.

    Returns:
        The network; what it took for its task's own, `(n, D)`; and the last epoch's mean loss, None where there is
        nothing to tell the task from, so that the synapse is untrained.
    """
    with seeded(seed):
        network = SynapseNetwork(others.centres.shape[1])
        negatives = others.draw(n)
        positives = own.draw(n) if isinstance(own, SharedGaussians) else own
    loss = None
    if len(negatives):
        schedule = Schedule(
            epochs=config.synapse_epochs,
            batch_size=config.schedule.batch_size,
            learning_rate=config.synapse_learning_rate,
        )
        loss = network.learn(positives, negatives, schedule, seed=seed, checkpoints=checkpoints)
    return network.eval().requires_grad_(False), positives, loss


def threshold_for(currents: Tensor, config: ArtsyPaperConfig) -> float:
    """Return the threshold of a synapse that has these currents `(N,)` on images of its own task.

    Example:
        >>> config = ArtsyPaperConfig(gate_recall=0.75)
        >>> round(threshold_for(torch.tensor([0.9, 0.2, 0.8, 0.4]), config), 3)
        0.4
    """
    if config.gate_recall is None:
        return config.threshold
    n_firing = math.ceil(config.gate_recall * len(currents))
    return float(currents.sort(descending=True).values[n_firing - 1]) * (1 - SLACK)
