"""How the functional adapter moves towards a sub-network and back: the mean of all that moved it, task by task."""

from models.adapter import Adapter

RESIDUE = (
    "Weights that stay were trained with its images: those of the functional adapter, "
    "and of sub-networks that began from it or learned other classes of the same task."
)
"""What is left of a task that is unlearned and cannot be moved back from, as others came after it."""

RELABELLED_RESIDUE = (
    "Weights that stay were trained while its images had other labels: those of the functional adapter, "
    "and of sub-networks that began from it or learned the same task."
)
"""What is left of the labels from before, where their task was consolidated or was trained as it was learned."""


def consolidated(
    functional: Adapter | None, own: Adapter, *, n_before: int, n_new: int = 1
) -> Adapter:
    """Return the functional adapter with its share of one more sub-network, frozen; both are left as they are.

    Args:
        functional: The mean of the sub-networks before. None where there is none.
        own: The new sub-network.
        n_before: How many tasks the mean is of.
        n_new: How many tasks trained the new sub-network.
    """
    if functional is None:
        return own.clone().freeze()
    moved = functional.clone()
    moved.consolidate(own, weight=_share(n_before, n_new))
    return moved.freeze()


def undone(functional: Adapter, own: Adapter, *, n_before: int, n_new: int = 1) -> Adapter:
    """Return the functional adapter from before `consolidated`, frozen; exact but for rounding.

    It moved from f to `f + w (own - f)`, and both that and `own` are known.

    Args:
        functional: As it is, after the move.
        own: The sub-network it moved towards.
        n_before: How many tasks it was the mean of before, at least one.
        n_new: How many tasks trained the sub-network.
    """
    weight = _share(n_before, n_new)
    back = functional.clone()
    back.consolidate(own, weight=-weight / (1 - weight))
    return back.freeze()


def _share(n_before: int, n_new: int) -> float:
    return n_new / (n_before + n_new)
