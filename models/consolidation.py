"""How the functional adapter moves towards a task's sub-network and back: the running mean of all that moved it."""

from models.adapter import Adapter

RESIDUE = (
    "Weights that stay were trained with its images: those of the functional adapter, "
    "and of sub-networks that began from it or learned other classes of the same task."
)
"""What is left of a task that is unlearned and cannot be moved back from, as others came after it."""


def consolidated(functional: Adapter | None, own: Adapter, *, n_before: int) -> Adapter:
    """Return the functional adapter with its share of one more sub-network, frozen; both are left as they are.

    Args:
        functional: The mean of the sub-networks before. None where there is none.
        own: The task's sub-network.
        n_before: How many sub-networks it is the mean of.
    """
    if functional is None:
        return own.clone().freeze()
    moved = functional.clone()
    moved.consolidate(own, weight=_share(n_before))
    return moved.freeze()


def undone(functional: Adapter, own: Adapter, *, n_before: int) -> Adapter:
    """Return the functional adapter from before `consolidated`, frozen; exact but for rounding.

    It moved from f to `f + w (own - f)`, and both that and `own` are known.

    Args:
        functional: As it is, after the move.
        own: The sub-network it moved towards.
        n_before: How many sub-networks it was the mean of before, at least one.
    """
    weight = _share(n_before)
    back = functional.clone()
    back.consolidate(own, weight=-weight / (1 - weight))
    return back.freeze()


def _share(n_before: int) -> float:
    return 1 / (n_before + 1)
