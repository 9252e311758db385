"""When a silent sub-network fires: where its synapse's current, evidence times uncertainty, reaches the threshold.

The decision itself is `models.synapse.Synapse.fires`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.synapse import Synapse, firing, thresholds_of

NEVER = 1.0
"""Threshold of a synapse that has not earned its pass: a current stays below 1."""


@dataclass(frozen=True)
class EvidenceSynapse(Synapse):
    """A synapse that reads the answer of the functional adapter. Nothing in it is trained."""

    classes: Tensor
    """Indexes of the classes of its task, int64 `(C,)`."""

    def evidence(self, probabilities: Tensor) -> Tensor:
        """Return the probability `(B,)` that an image is of its task, of the probabilities `(B, K)` of all classes."""
        return probabilities[:, self.classes].sum(dim=1)

    def current(self, probabilities: Tensor, uncertainty: Tensor) -> Tensor:
        """Return evidence times uncertainty, `(B,)`, non-negative.

        Args:
            probabilities: Of all classes, `(B, K)`.
            uncertainty: Probability that the answer is wrong, `(B,)`.
        """
        return (self.evidence(probabilities) * uncertainty).clamp(min=0)


def route(
    synapses: Sequence[EvidenceSynapse], probabilities: Tensor, *, at_most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Say which of T synapses, at least one, are functional for each image: the strongest of those that fire.

    Args:
        synapses: Of all tasks.
        probabilities: Of all K classes as the functional adapter sees them, `(B, K)`.
        at_most: How many may be functional for one image.

    Returns:
        Currents `(B, T)`, the thresholds that count, `(T,)`, all of them `NEVER` where none may be functional, and
        which are functional, bool `(B, T)`.
    """
    uncertainty = 1 - probabilities.amax(dim=1)
    currents = torch.stack([each.current(probabilities, uncertainty) for each in synapses], dim=1)
    fires = firing(synapses, currents)
    # Only among those that fire: one that cannot must not take another's place.
    allowed = min(at_most, len(synapses))
    ranks = currents.masked_fill(~fires, -1).topk(allowed, dim=1).indices
    strongest = torch.zeros_like(fires).scatter_(1, ranks, True)
    thresholds = thresholds_of(synapses)
    if not at_most:
        thresholds = torch.full_like(thresholds, NEVER)
    return currents, thresholds, strongest & fires
