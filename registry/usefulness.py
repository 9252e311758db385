"""How useful a person's word about an image would be, and why, from what is stored of its answer alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Why = Literal["unknown", "below", "versions", "synapse", "between", "unsure", "sure"]
WORTH = 0.5
"""Usefulness from which an image is worth a look."""
VERSIONS_DISAGREE = 0.9
"""What it counts that another version said something else."""
SYNAPSE_DISAGREES = 0.8
"""What it counts that a sub-network changed the answer."""
MOST_TOP = 5
"""Classes that are kept of an answer."""


@dataclass(frozen=True)
class Reason:
    """Why an image is shown."""

    code: Why
    usefulness: float
    label: str
    """The answer."""
    rival: str | None = None
    """Another class that speaks for it."""
    version: int | None = None
    """Which version said the rival."""


def reason_of(
    top: Sequence[Mapping[str, Any]],
    *,
    novelty: float,
    is_known: bool,
    below: float | None = None,
    without: str | None = None,
    other_label: str | None = None,
    other_version: int | None = None,
) -> Reason:
    """Return the reason that weighs most.

    An image that looks like nothing known counts as much as it is novel; one whose class needs a higher score, as much
    as its own lacks to 1; one between two classes, 1 less the margin between them. Where only the best class was asked
    for, the margin is the least that its score leaves. That two versions, or an answer with and without its
    sub-networks, name different classes counts a fixed share.

    Args:
        top: The best classes of the answer, each `{label, score}`; at least one.
        novelty: Of the image, in `[0, 1]`.
        is_known: Whether it counts as one of its class.
        below: The score that its class needs, where the answer's is less.
        without: What would have been answered without a sub-network, if that is another class.
        other_label: What another version said, if that is another class.
        other_version: Which one.

    Example:
        >>> reason_of([{"label": "heron", "score": 0.5}, {"label": "stork", "score": 0.4}], novelty=0.1, is_known=True)
        Reason(code='between', usefulness=0.9, label='heron', rival='stork', version=None)
        >>> reason_of([{"label": "heron", "score": 0.9}], novelty=1.0, is_known=False).code
        'unknown'
    """
    best = top[0]["label"]
    reasons = [_by_margin(top)]
    if without is not None:
        reasons.append(Reason("synapse", SYNAPSE_DISAGREES, best, without))
    if other_label is not None:
        reasons.append(Reason("versions", VERSIONS_DISAGREE, best, other_label, other_version))
    if below is not None:
        reasons.append(Reason("below", max(WORTH, round(1 - top[0]["score"], 6)), best))
    elif not is_known:
        reasons.append(Reason("unknown", max(WORTH, round(novelty, 6)), best))
    return max(reasons, key=lambda reason: reason.usefulness)


def _by_margin(top: Sequence[Mapping[str, Any]]) -> Reason:
    best, score = top[0]["label"], top[0]["score"]
    rival = top[1]["label"] if len(top) > 1 else None
    second = top[1]["score"] if len(top) > 1 else min(score, 1 - score)
    usefulness = round(min(1.0, max(0.0, 1 - (score - second))), 6)
    if usefulness < WORTH:
        return Reason("sure", usefulness, best)
    return Reason("unsure" if rival is None else "between", usefulness, best, rival)
