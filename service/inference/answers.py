"""From the engine's numbers to what a client reads."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from service.inference.engine import Scores
from service.inference.snapshots import Snapshot
from service.intake.prediction_requests import Outcome

DIGITS = 6
"""Decimals of scores: more than they mean, few enough to read."""


def image_answer(
    snapshot: Snapshot, scores: Scores, row: int, *, top_k: int, trace: str
) -> dict[str, Any]:
    """Return label, score, novelty, top classes and route of one image.

    Args:
        snapshot: The version that scored it.
        scores: What the engine answered for a batch.
        row: Which image of it.
        top_k: Number of classes in `top`.
        trace: `none`, `summary` or `full`.
    """
    strategy = snapshot.strategy
    probabilities = scores.probabilities[row]
    order = np.argsort(-probabilities, kind="stable")[: max(top_k, 1)]
    top = [
        {
            "label": strategy.classes_[k],
            "score": round(float(probabilities[k]), DIGITS),
            "task": strategy.class_tasks_[k],
        }
        for k in order
    ]
    novelty = float(scores.novelty[row])
    answer: dict[str, Any] = {
        **top[0],
        "novelty": round(novelty, DIGITS),
        "known": novelty <= snapshot.novelty_threshold,
        "top": top,
    }
    if trace != "none":
        answer["route"] = _route(snapshot, scores, row, is_full=trace == "full")
    return answer


def request_results(
    snapshot: Snapshot,
    names: Sequence[str | None],
    outcomes: Sequence[Outcome],
    parts: Sequence[Scores],
    *,
    top_k: int,
    trace: str,
) -> list[dict[str, Any]]:
    """Return one entry for each image of a request, in the order they were sent."""
    rows = [(scores, row) for scores in parts for row in range(len(scores.passes))]
    results = []
    for index, (name, outcome) in enumerate(zip(names, outcomes, strict=True)):
        entry: dict[str, Any] = {"index": index, "filename": name}
        if outcome.problem is not None:
            problem = outcome.problem
            entry["problem"] = {"code": problem.code, "detail": problem.detail}
        else:
            scores, row = rows[outcome.row]
            entry |= image_answer(snapshot, scores, row, top_k=top_k, trace=trace)
        if outcome.warnings:
            entry["warnings"] = list(outcome.warnings)
        results.append(entry)
    return results


def _route(snapshot: Snapshot, scores: Scores, row: int, *, is_full: bool) -> dict[str, Any]:
    tasks = snapshot.strategy.synapse_tasks_
    fired = [bool(value) for value in scores.functional[row]]
    route: dict[str, Any] = {
        "functional": [t for t, is_on in zip(tasks, fired, strict=True) if is_on],
        "silent": [t for t, is_on in zip(tasks, fired, strict=True) if not is_on],
        "passes": int(scores.passes[row]),
    }
    if is_full:
        route["synapses"] = [
            {
                "task": task,
                "current": round(float(current), DIGITS),
                "threshold": round(float(threshold), DIGITS),
                "state": "functional" if is_on else "silent",
            }
            for task, current, threshold, is_on in zip(
                tasks, scores.currents[row], scores.thresholds, fired, strict=True
            )
        ]
    return route
