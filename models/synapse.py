"""The synapse: silent until an image's current reaches its threshold, functional from there on.

Where it decides is `reaches`. Where the current comes from is each strategy's own: `artsy` reads it off the
answer (`models/evidence_synapse.py`), `artsy_paper` asks a small trained network
(`models/strategies/artsy_paper/gates.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Synapse:
    """What lies before one task's silent sub-network."""

    threshold: float
    """Current from which the sub-network is functional."""

    def fires(self, current: Tensor) -> Tensor:
        """Decide for which images the sub-network is functional: where their current `(B,)` reaches the threshold.

        Returns:
            Bool `(B,)`.

        Example:
            >>> Synapse(threshold=0.25).fires(torch.tensor([0.1, 0.25, 0.9]))
            tensor([False,  True,  True])
        """
        return reaches(current, torch.tensor(self.threshold))


def reaches(currents: Tensor, thresholds: Tensor) -> Tensor:
    """Decide for any number of synapses at once where each fires: currents `(B, T)`, thresholds `(T,)`."""
    return currents >= thresholds


def firing(synapses: Sequence[Synapse], currents: Tensor) -> Tensor:
    """Ask each of T synapses, at least one, about its own column of the currents `(B, T)`: bool `(B, T)`."""
    return reaches(currents, thresholds_of(synapses))


def thresholds_of(synapses: Sequence[Synapse]) -> Tensor:
    """Return the threshold of each synapse, `(T,)`."""
    return torch.tensor([synapse.threshold for synapse in synapses])
