"""What the section `why.html` shows of an account of an answer."""

from dataclasses import dataclass
from math import isfinite
from typing import Any

from service.dashboard.rendering import width
from service.schemas.accounts import AccountRead

ROOM = 2.0
"""Where the bars of currents end, in the highest threshold: the same for every image, so that two can be compared."""
MOST_SYNAPSES = 40
"""Synapses that are shown of a learner with many tasks: those that fired, and the highest currents."""


@dataclass(frozen=True)
class WhyView:
    """An account, and the lengths of its bars."""

    account: AccountRead
    synapses: list[dict[str, Any]]
    n_more: int
    """Synapses that are not shown."""


def why_of(account: AccountRead) -> WhyView:
    """Return what is shown of an account."""
    every = synapse_bars([synapse.model_dump() for synapse in account.synapses])
    ranked = sorted(every, key=lambda one: (one["state"] == "silent", -one["current"]))
    shown = sorted(ranked[:MOST_SYNAPSES], key=lambda one: one["task"])
    return WhyView(account, shown, len(every) - len(shown))


def synapse_bars(synapses: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each synapse with the length of its bar and the place of its threshold; None of one that can never fire.

    All share one scale, and it is that of every image with this version: a current beyond it fills its bar, and the
    number beside it says by how much. Empty for a strategy without synapses.
    """
    known = [item for item in synapses if isfinite(item["threshold"])]
    top = ROOM * max([item["threshold"] for item in known if item["can_fire"]], default=0) or 1.0
    return [
        item
        | {
            "width": width(item["current"] / top),
            "mark": width(item["threshold"] / top) if item["can_fire"] else None,
        }
        for item in known
    ]
