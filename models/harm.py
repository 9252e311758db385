"""Does a learner know its earlier classes worse after a batch than honest batches cost? Counts in, a finding out."""

import math
from collections.abc import Mapping

from models.screening import Finding

HARM_CLASS_DROP, HARM_CLASS_CHANCE = 0.5, 0.003
"""Drop of an earlier class's accuracy, and how unlikely it is by chance, from which a batch does harm. Honest batches
cost single classes up to 0.5, by chance, where ten images measure it."""
HARM_DROP, HARM_CHANCE = 0.15, 0.001
"""The same over all earlier classes together, of which honest batches cost up to 0.1."""


def find_harm(
    before: Mapping[str, Mapping[str, int]],
    after: Mapping[str, Mapping[str, int]],
    *,
    holds: bool = True,
) -> list[Finding]:
    """Compare what a learner knew of its earlier classes with what it would know after a batch.

    Every batch costs the earlier classes something: there is more to choose from. What is reported is more than honest
    batches cost, and more than chance.

    Args:
        before: Answers to held-out images of earlier classes: counts by true label, then by answered label.
        after: The same of the learner that learned the batch. Labels that only one of the two has are left out.
        holds: Whether that is reason enough to hold the task; not for a strategy that forgets by itself.

    Returns:
        At most one finding, with the earlier classes it is about.
    """
    counts = {
        label: (_right(before, label), _right(after, label), sum(after[label].values()))
        for label in before
        if label in after and sum(before[label].values()) == sum(after[label].values())
    }
    lost = [
        label
        for label, (old, new, n) in counts.items()
        if old - new >= HARM_CLASS_DROP * n and _drop_chance(old, new, n) < HARM_CLASS_CHANCE
    ]
    n = sum(n for _, _, n in counts.values())
    old, new = (sum(count[i] for count in counts.values()) for i in (0, 1))
    drop = (old - new) / n if n else 0.0
    is_broad = drop >= HARM_DROP and _drop_chance(old, new, n) < HARM_CHANCE
    if not lost and not is_broad:
        return []
    numbers = {
        "images": float(n),
        "accuracy_before": round(old / n, 3),
        "accuracy_after": round(new / n, 3),
    }
    named = ", ".join(lost[:5]) + (" and others" if len(lost) > 5 else "")
    detail = f"Accuracy on earlier classes would fall from {old / n:.0%} to {new / n:.0%}" + (
        f"; mostly lost: {named}." if lost else "."
    )
    return [Finding("harms-known", detail, holds, lost, numbers)]


def _right(confusion: Mapping[str, Mapping[str, int]], label: str) -> int:
    return confusion[label].get(label, 0)


def _drop_chance(old: int, new: int, n: int) -> float:
    """Return how likely chance alone lets `old` of `n` right fall to `new` or fewer: Fisher's exact test, one-sided."""
    total = old + new
    ways = math.comb(2 * n, total)
    return (
        sum(math.comb(n, k) * math.comb(n, total - k) for k in range(max(0, total - n), new + 1))
        / ways
    )
