"""How the opinion of a sub-network on its own classes is merged into the answer, and whether that pays."""

import torch
from torch import Tensor
from torch.nn import functional as F


def merge(probabilities: Tensor, opinion: Tensor, classes: Tensor) -> Tensor:
    """Merge a sub-network's opinion on its own classes into the probabilities of all.

    The geometric mean of both opinions decides within the classes; the mass they share stays what it was, so an expert
    never takes probability from classes it does not know.

    Args:
        probabilities: `(B, K)`.
        opinion: Log-probabilities among its classes, `(B, C)`.
        classes: Indexes of those classes, `(C,)`.

    Returns:
        Probabilities `(B, K)` with the same row sums.
    """
    mine = probabilities[:, classes]
    both = torch.softmax(0.5 * (mine.clamp(min=1e-30).log() + opinion), dim=-1)
    merged = probabilities.clone()
    merged[:, classes] = both * mine.sum(dim=1, keepdim=True)
    return merged


def earns_its_pass(alone: Tensor, opinion: Tensor, targets: Tensor) -> bool:
    """Tell whether a sub-network's opinion on images of its own C classes leaves the answer as likely to be right.

    Args:
        alone: Probabilities among its classes without it, `(E, C)`.
        opinion: Its log-probabilities, `(E, C)`.
        targets: The right classes among its own, int64 `(E,)`.
    """
    n_classes = alone.shape[1]
    together = merge(alone, opinion, torch.arange(n_classes))
    return n_classes > 1 and _loss(together, targets) <= _loss(alone, targets)


def _loss(probabilities: Tensor, targets: Tensor) -> float:
    return float(F.nll_loss(probabilities.clamp(min=1e-30).log(), targets))
