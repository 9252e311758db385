"""When a silent sub-network fires: where its synapse's current, evidence times uncertainty, reaches the threshold.

The decision itself is `models.synapse.reaches`, as for `Synapse.fires`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.synapse import Synapse, reaches, thresholds_of

NEVER = 1.0
"""Threshold of a synapse that has not earned its pass: a current stays below 1."""


@dataclass(frozen=True)
class EvidenceSynapse(Synapse):
    """A synapse that reads the answer of the functional adapter. Nothing in it is trained."""

    classes: Tensor
    """Indexes of the classes of its task, int64 `(C,)`."""


class EvidenceSynapses:
    """The synapses of T tasks, at least one, asked all at once: there may be hundreds, and every image asks them."""

    def __init__(self, synapses: Sequence[EvidenceSynapse]) -> None:
        """Put together what does not depend on the image."""
        self._classes = torch.cat([synapse.classes for synapse in synapses])
        sizes = torch.tensor([len(synapse.classes) for synapse in synapses])
        self._tasks = torch.arange(len(synapses)).repeat_interleave(sizes)
        self._thresholds = thresholds_of(synapses)
        self._can_fire = self._thresholds < NEVER
        self._has_firing = bool(self._can_fire.any())

    def currents(self, probabilities: Tensor) -> Tensor:
        """Return their currents, non-negative, `(B, T)`, of the probabilities `(B, K)` of all classes.

        Evidence is the probability that an image is of the synapse's task, uncertainty that the answer is wrong.
        """
        evidence = probabilities.new_zeros(len(probabilities), len(self._thresholds))
        evidence.index_add_(1, self._tasks, probabilities[:, self._classes])
        return _currents(evidence, probabilities)

    def would_fire(self, probabilities: Tensor, *, at_most: int) -> tuple[Tensor, Tensor, Tensor]:
        """Say which fire for each image, by the same steps for every image; see `route`.

        Returns:
            Currents, thresholds, and which fire, bool `(B, T)`, more than `at_most` perhaps.
        """
        # A product, which a graph has for any number of images.
        belongs = probabilities.new_zeros(probabilities.shape[1], len(self._thresholds))
        belongs[self._classes, self._tasks] = 1
        currents = _currents(probabilities @ belongs, probabilities)
        thresholds = self._thresholds_for(at_most)
        return currents, thresholds, reaches(currents, thresholds) & (thresholds < NEVER)

    def route(self, probabilities: Tensor, *, at_most: int) -> tuple[Tensor, Tensor, Tensor]:
        """Say which are functional for each image: the strongest of those that fire.

        Args:
            probabilities: Of all K classes as the functional adapter sees them, `(B, K)`.
            at_most: How many may be functional for one image.

        Returns:
            Currents `(B, T)`, the thresholds that count, `(T,)`, all of them `NEVER` where none may be functional, and
            which are functional, bool `(B, T)`.
        """
        currents, thresholds = self.currents(probabilities), self._thresholds_for(at_most)
        if not at_most or not self._has_firing:
            return currents, thresholds, torch.zeros_like(currents, dtype=torch.bool)
        fires = reaches(currents, thresholds) & self._can_fire
        # Only among those that fire: one that cannot must not take another's place.
        ranks = currents.masked_fill(~fires, -1).topk(min(at_most, len(thresholds)), dim=1).indices
        strongest = torch.zeros_like(fires).scatter_(1, ranks, True)
        return currents, thresholds, strongest & fires

    def _thresholds_for(self, at_most: int) -> Tensor:
        return self._thresholds if at_most else torch.full_like(self._thresholds, NEVER)


def _currents(evidence: Tensor, probabilities: Tensor) -> Tensor:
    uncertainty = 1 - probabilities.amax(dim=1, keepdim=True)
    return (evidence * uncertainty).clamp(min=0)
