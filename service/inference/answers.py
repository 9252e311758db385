"""From the engine's numbers to what a client reads."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.classes import Shown
from service.inference.engine import Scores
from service.inference.snapshots import Snapshot
from service.intake.prediction_requests import Outcome
from service.problems import Problem

DIGITS = 6
"""Decimals of scores: more than they mean, few enough to read."""
HIDDEN = -1.0
"""In the place of the probability of a class that is not answered."""
NO_LIMITS: Mapping[str, float] = MappingProxyType({})
"""Of classes that count as known from any score on."""


def image_answer(
    snapshot: Snapshot,
    scores: Scores,
    row: int,
    *,
    top_k: int,
    trace: str,
    min_scores: Mapping[str, float] = NO_LIMITS,
) -> dict[str, Any]:
    """Return label, score, novelty, top classes and route of one image. Classes are called as they were learned.

    Args:
        snapshot: The version that scored it.
        scores: What the engine answered for a batch, or what `hide` has left of it.
        row: Which image of it.
        top_k: Number of classes in `top`.
        trace: `none`, `summary` or `full`.
        min_scores: By label; below its score a class counts as not known.
    """
    probabilities = scores.probabilities[row]
    order = np.argsort(-probabilities, kind="stable")[: max(top_k, 1)]
    order = order[probabilities[order] != HIDDEN]
    top = [scored(snapshot, probabilities, k) for k in order]
    novelty = float(scores.novelty[row])
    answer: dict[str, Any] = {
        **top[0],
        "novelty": round(novelty, DIGITS),
        "known": novelty <= snapshot.novelty_threshold,
        "top": top,
    }
    least = min_scores.get(answer["label"], 0.0)
    if answer["score"] < least:
        answer |= {"known": False, "below": least}
    if trace != "none":
        answer["route"] = _route(snapshot, scores, row, is_full=trace == "full")
    return answer


@dataclass(frozen=True)
class Features:
    """What an answer was read from."""

    values: bytes
    """Of length 1, float16."""
    made_by: str


def features_of(scores: Scores, row: int) -> Features | None:
    """Return what the answer to one image of a batch was read from; None where the strategy reads no features."""
    if scores.features is None:
        return None
    values = scores.features[row].astype(np.float32)
    length = float(np.linalg.norm(values))
    return Features((values / (length or 1.0)).astype(np.float16).tobytes(), scores.features_of)


def request_features(outcomes: Sequence[Outcome], parts: Sequence[Scores]) -> dict[int, Features]:
    """Return what the answers of a request were read from, by the index of the result, as far as there is any."""
    rows = [(scores, row) for scores in parts for row in range(len(scores.passes))]
    found = {
        index: features_of(*rows[outcome.row])
        for index, outcome in enumerate(outcomes)
        if outcome.problem is None
    }
    return {index: features for index, features in found.items() if features is not None}


def scored(snapshot: Snapshot, probabilities: NDArray[np.float32], k: int) -> dict[str, Any]:
    """Return the class of an index with its probability among `(K,)`."""
    return {
        "label": snapshot.strategy.classes_[k],
        "score": round(float(probabilities[k]), DIGITS),
        "task": snapshot.strategy.class_tasks_[k],
    }


def request_results(
    snapshot: Snapshot,
    names: Sequence[str | None],
    outcomes: Sequence[Outcome],
    parts: Sequence[Scores],
    *,
    top_k: int,
    trace: str,
    hidden: Collection[str] = (),
    min_scores: Mapping[str, float] = NO_LIMITS,
) -> list[dict[str, Any]]:
    """Return one entry for each image of a request, in the order they were sent; see `image_answer` and `hide`."""
    parts = [hide(scores, snapshot.strategy.classes_, hidden) for scores in parts]
    rows = [(scores, row) for scores in parts for row in range(len(scores.passes))]
    results = []
    for index, (name, outcome) in enumerate(zip(names, outcomes, strict=True)):
        entry: dict[str, Any] = {"index": index, "filename": name}
        if outcome.problem is not None:
            problem = outcome.problem
            entry["problem"] = {"code": problem.code, "detail": problem.detail}
        else:
            scores, row = rows[outcome.row]
            entry |= image_answer(
                snapshot, scores, row, top_k=top_k, trace=trace, min_scores=min_scores
            )
        if outcome.warnings:
            entry["warnings"] = list(outcome.warnings)
        results.append(entry)
    return results


def hide(scores: Scores, labels: Sequence[str], hidden: Collection[str]) -> Scores:
    """Return the scores without some classes: those of the others sum to 1.

    Args:
        scores: What the engine answered for a batch.
        labels: Of its classes.
        hidden: Which are not answered; at least one other is left.
    """
    if not hidden:
        return scores
    is_shown = np.array([label not in hidden for label in labels])
    if is_shown.all():
        return scores
    unrouted = None if scores.unrouted is None else among(scores.unrouted, is_shown)
    return replace(scores, probabilities=among(scores.probabilities, is_shown), unrouted=unrouted)


def among(probabilities: NDArray[np.float32], is_shown: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Share the probabilities `(B, K)` out among the classes that are shown, bool `(K,)`."""
    kept = np.where(is_shown, probabilities, 0.0).astype(np.float64)
    mass = kept.sum(axis=1, keepdims=True)
    # All of it can lie on what is hidden, to the last bit: then nothing tells the others apart.
    kept = np.where(mass > 0, kept / np.where(mass > 0, mass, 1.0), is_shown / is_shown.sum())
    left: NDArray[np.float32] = np.where(is_shown, kept, HIDDEN).astype(np.float32)
    return left


def require_shown(snapshot: Snapshot, hidden: Collection[str]) -> None:
    """Check that there is a class to answer.

    Raises:
        Problem: `all-classes-hidden`.
    """
    if all(label in hidden for label in snapshot.strategy.classes_):
        raise Problem("all-classes-hidden")


def named(results: Sequence[dict[str, Any]], shown: Shown) -> list[dict[str, Any]]:
    """Return the entries of a request with classes called as they are called now.

    Example:
        >>> named([{"index": 0, "label": "heron", "top": [{"label": "heron"}]}], Shown({"heron": "Great heron"}))
        [{'index': 0, 'label': 'Great heron', 'top': [{'label': 'Great heron'}]}]
    """
    return [_named(entry, shown) for entry in results] if shown.names else list(results)


def _named(entry: dict[str, Any], shown: Shown) -> dict[str, Any]:
    if "label" not in entry:
        return entry
    named = _renamed(entry, shown)
    named["top"] = [_renamed(ranked, shown) for ranked in entry.get("top", ())]
    if without := (entry.get("route") or {}).get("without"):
        named["route"] = {**entry["route"], "without": _renamed(without, shown)}
    return named


def _renamed(scored: dict[str, Any], shown: Shown) -> dict[str, Any]:
    return {**scored, "label": shown.name(scored["label"])}


def _route(snapshot: Snapshot, scores: Scores, row: int, *, is_full: bool) -> dict[str, Any]:
    tasks = snapshot.strategy.synapse_tasks_
    fired = [bool(value) for value in scores.functional[row]]
    route: dict[str, Any] = {
        "functional": [t for t, is_on in zip(tasks, fired, strict=True) if is_on],
        "silent": [t for t, is_on in zip(tasks, fired, strict=True) if not is_on],
        "passes": int(scores.passes[row]),
    }
    if any(fired) and scores.unrouted is not None:
        without = scores.unrouted[row]
        route["without"] = scored(snapshot, without, int(without.argmax()))
    if is_full:
        route["synapses"] = [
            {
                "task": task,
                "current": round(float(current), DIGITS),
                "threshold": round(float(threshold), DIGITS),
                "state": "functional" if is_on else "silent",
                "can_fire": bool(threshold < snapshot.strategy.current_below),
            }
            for task, current, threshold, is_on in zip(
                tasks, scores.currents[row], scores.thresholds, fired, strict=True
            )
        ]
    return route
