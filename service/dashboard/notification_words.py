"""Subscriptions in plain words: when somebody is told, and what a message was about."""

from collections.abc import Mapping, Sequence
from typing import Any

from registry.notices import ACCURACY_DROPPED, PREDICTED, TASK_ENDED, TEST, Rule

EVENT_WORDS = {
    PREDICTED: "an answer",
    TASK_ENDED: "a task ended",
    ACCURACY_DROPPED: "accuracy fell",
    "unknown.found": "images of no class",
    TEST: "a test",
}
STATUS_WORDS = {
    "succeeded": "is learned",
    "failed": "fails",
    "held": "is held for a decision",
    "cancelled": "is cancelled",
    "declined": "is tried and not adopted",
}
"""How a task ends, as somebody says it."""
_MOST_LABELS = 5


def when(events: Sequence[str], rule: Rule) -> list[str]:
    """Return when somebody is told, a clause for each event.

    Example:
        >>> when(["prediction.made"], Rule(labels=("heron",), min_score=0.8))
        ['an image is answered with heron, with a score of at least 80%']
        >>> when(["task.ended", "accuracy.dropped"], Rule(statuses=("failed", "held")))
        ['a task fails or is held for a decision', 'a task or class is known worse than before, by 5 points or more']
    """
    said = {
        PREDICTED: _answers(rule),
        TASK_ENDED: f"a task {_ends(rule)}",
        ACCURACY_DROPPED: "a task or class is known worse than before, by "
        f"{_points(rule.min_drop)} or more",
        "unknown.found": f"{rule.min_images} images wait that look alike and like no class",
    }
    return [said[event] for event in said if event in events]


def about(event: str, data: Mapping[str, Any]) -> str:
    """Return what a message was about, in a few words.

    Example:
        >>> about("task.ended", {"learner": "birds", "index": 3, "status": "failed"})
        'birds: task 3 failed'
        >>> about("unknown.found", {"learner": "birds", "n_images": 7})
        'birds: 7 images alike'
    """
    learner = data.get("learner")
    if event == PREDICTED:
        labels = [
            str(one.get("label")) if one.get("known", True) else "no class it knows"
            for one in data.get("results", ())
        ]
        text = _few(list(dict.fromkeys(labels)))
    elif event == TASK_ENDED:
        index = int(data.get("index") or 0)
        kind = "task" if index > 0 else "consolidation"
        text = f"{kind} {abs(index)} {data.get('status')}"
    elif event == ACCURACY_DROPPED:
        drops = [str(one.get("class", f"task {one.get('task')}")) for one in data.get("drops", ())]
        text = f"{_few(drops)} with version {data.get('version')}"
    elif event == TEST:
        return "whether messages arrive"
    else:
        text = f"{data.get('n_images')} images alike"
    return f"{learner}: {text}"


def _answers(rule: Rule) -> str:
    what = "an image is answered"
    if rule.labels:
        what += f" with {_few(rule.labels, 'or')}"
    if rule.known is False:
        what = (
            "an image looks like no class"
            if not rule.labels
            else f"{what}, but looks like no class"
        )
    elif rule.known:
        what += " and looks like that class" if rule.labels else " and looks like a class"
    bounds = []
    if rule.min_score is not None:
        bounds.append(f"of at least {100 * rule.min_score:g}%")
    if rule.max_score is not None:
        bounds.append(f"below {100 * rule.max_score:g}%")
    if bounds:
        what += f", with a score {' and '.join(bounds)}"
    if rule.disagrees:
        what += ", and the frozen network alone would have said otherwise"
    return what


def _ends(rule: Rule) -> str:
    if not rule.statuses:
        return "ends, or is held for a decision"
    return _joined([STATUS_WORDS[one] for one in STATUS_WORDS if one in rule.statuses], "or")


def _points(share: float) -> str:
    points = round(100 * share, 2)
    return "1 point" if points == 1 else f"{points:g} points"


def _few(words: Sequence[str], last: str = "and") -> str:
    if len(words) > _MOST_LABELS:
        return _joined([*words[:_MOST_LABELS], f"{len(words) - _MOST_LABELS} more"], last)
    return _joined(words, last)


def _joined(words: Sequence[str], last: str) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"
