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


def currents_of(synapses: Sequence[EvidenceSynapse], probabilities: Tensor) -> Tensor:
    """Return the currents of T synapses, non-negative, `(B, T)`, of the probabilities `(B, K)` of all classes.

    Evidence is the probability that an image is of the synapse's task, uncertainty that the answer is wrong. All at
    once: there may be hundreds of tasks, and this is done for every image.
    """
    classes = torch.cat([synapse.classes for synapse in synapses])
    sizes = torch.tensor([len(synapse.classes) for synapse in synapses])
    tasks = torch.arange(len(synapses)).repeat_interleave(sizes)
    evidence = probabilities.new_zeros(len(probabilities), len(synapses))
    evidence.index_add_(1, tasks, probabilities[:, classes])
    uncertainty = 1 - probabilities.amax(dim=1, keepdim=True)
    return (evidence * uncertainty).clamp(min=0)


def would_fire(
    synapses: Sequence[EvidenceSynapse], probabilities: Tensor, *, at_most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Say which synapses fire for each image, by the same steps for every image; see `route`.

    Returns:
        Currents, thresholds, and which fire, bool `(B, T)`, more than `at_most` perhaps.
    """
    thresholds = thresholds_of(synapses)
    if not at_most:
        thresholds = torch.full_like(thresholds, NEVER)
    # A product, which a graph has for any number of images.
    belongs = probabilities.new_zeros(probabilities.shape[1], len(synapses))
    for t, synapse in enumerate(synapses):
        belongs[synapse.classes, t] = 1
    uncertainty = 1 - probabilities.amax(dim=1, keepdim=True)
    currents = ((probabilities @ belongs) * uncertainty).clamp(min=0)
    return currents, thresholds, (currents >= thresholds) & (thresholds < NEVER)


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
    currents = currents_of(synapses, probabilities)
    thresholds = thresholds_of(synapses)
    fires = torch.zeros_like(currents, dtype=torch.bool)
    # Most tasks of a long life have no sub-network: only the others are asked.
    can_fire = [t for t, synapse in enumerate(synapses) if synapse.threshold < NEVER]
    if can_fire:
        fires[:, can_fire] = firing([synapses[t] for t in can_fire], currents[:, can_fire])
    # Only among those that fire: one that cannot must not take another's place.
    allowed = min(at_most, len(synapses))
    ranks = currents.masked_fill(~fires, -1).topk(allowed, dim=1).indices
    strongest = torch.zeros_like(fires).scatter_(1, ranks, True)
    if not at_most:
        thresholds = torch.full_like(thresholds, NEVER)
    return currents, thresholds, strongest & fires
