"""What the section `why.html` shows of an account of an answer."""

from dataclasses import dataclass
from math import isfinite
from typing import Any

from service.dashboard.rendering import width
from service.schemas.accounts import AccountRead

ROOM = 1.5
"""Scale of the currents, in thresholds, when none is larger: a threshold should not sit at the edge."""
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
    every = [synapse.model_dump() for synapse in account.synapses]
    ranked = sorted(every, key=lambda one: (one["state"] == "silent", -one["current"]))
    shown = sorted(ranked[:MOST_SYNAPSES], key=lambda one: one["task"])
    return WhyView(account, synapse_bars(shown), len(every) - len(shown))


def synapse_bars(synapses: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each synapse with the length of its bar and the place of its threshold; None of one that can never fire.

    All share one scale, so that currents can be compared. Empty for a strategy without synapses.
    """
    known = [item for item in synapses if isfinite(item["threshold"])]
    reachable = [ROOM * item["threshold"] for item in known if item["can_fire"]] or [1.0]
    top = max([*(item["current"] for item in known), *reachable])
    return [
        item
        | {
            "width": width(item["current"] / top),
            "mark": width(item["threshold"] / top) if item["can_fire"] else None,
        }
        for item in known
        if top > 0
    ]
