"""Why one image is answered as it is: what each synapse changes, and what each head says by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.strategies.values import Prediction

MOST_TURNED = 8
"""Synapses of an image that are turned, one after the other: each may take a pass or two."""


@dataclass(frozen=True)
class HeadSays:
    """What one of several heads that answer together says of one image. Shape: K classes."""

    name: str
    share: float
    """How much it counts in the mixture."""
    probabilities: Tensor
    """Calibrated, `(K,)`."""


@dataclass(frozen=True)
class Account:
    """The answer to one image, and what it would be otherwise. Shape: K classes."""

    prediction: Prediction
    """Of a batch of this one image."""
    turned: Mapping[int, Tensor]
    """By the column of a synapse, what the probabilities `(K,)` would be were it silent instead of functional, or the
    other way round."""
    heads: Sequence[HeadSays] = field(default_factory=tuple)
    """Those that answer together without a sub-network; none where there is only one."""


def worth_turning(prediction: Prediction, current_below: float) -> list[int]:
    """Return the columns of the synapses of one image that are worth turning.

    Those that fired come first, then silent ones that could, by their currents.
    """
    functional, currents = prediction.functional[0], prediction.currents[0]
    can_fire = prediction.thresholds < current_below
    order = torch.argsort(-(currents + functional * (1 + currents.amax())), stable=True).tolist()
    return [t for t in order if functional[t] or can_fire[t]][:MOST_TURNED]
