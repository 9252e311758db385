"""What subscribers may be told of, and their rules: which of it they want to hear. Nothing here asks the database."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from registry.statuses import ENDED, TaskStatus

EVENTS = PREDICTED, TASK_ENDED, ACCURACY_DROPPED, UNKNOWN_FOUND = (
    "prediction.made",
    "task.ended",
    "accuracy.dropped",
    "unknown.found",
)
"""What a subscription may listen for."""
TEST = "test"
"""Event of a message that somebody asks for to see whether one arrives."""
STATUSES = tuple(sorted(ENDED - {TaskStatus.SUPERSEDED}))
"""How a task may end. That a rollback leaves one beside the line is not told of."""


@dataclass(frozen=True)
class Rule:
    """What of its events a subscription wants. Each part limits one event; by default all of it is wanted."""

    labels: tuple[str, ...] = ()
    """Answers with one of these classes; none for any."""
    min_score: float | None = None
    """Answers with at least this score."""
    max_score: float | None = None
    """Answers with a score below this."""
    known: bool | None = None
    """Answers that look like a class (True), or like none (False)."""
    disagrees: bool = False
    """Only answers that would have been another class without the sub-network."""
    statuses: tuple[str, ...] = ()
    """Tasks that ended so; none for any."""
    min_drop: float = 0.05
    """Accuracies that fell by at least this, from 0 to 1, and by more than their intervals explain."""
    min_images: int = 5
    """Images alike that look like no class: so many at least."""

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Rule":
        """Return the rule that `stored` says.

        Example:
            >>> Rule.of({"labels": ["heron"], "min_score": 0.8}).stored()
            {'labels': ['heron'], 'min_score': 0.8}
        """
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in stored.items() if name in known}
        for name in ("labels", "statuses"):
            values[name] = tuple(values.get(name) or ())
        return cls(**values)

    def stored(self) -> dict[str, Any]:
        """Return it as JSON: what is not the default."""
        values = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }
        plain = asdict(Rule())
        return {
            name: value
            for name, value in values.items()
            if value != (list(plain[name]) if isinstance(plain[name], tuple) else plain[name])
        }

    def wants_answer(self, answer: Mapping[str, Any], name: str) -> bool:
        """Return whether an answer to an image is wanted.

        Args:
            answer: With `label`, `score`, `known` and `route`; one with a `problem` is never wanted.
            name: What its class is called now.
        """
        if "problem" in answer or "label" not in answer:
            return False
        score = float(answer["score"])
        return (
            (not self.labels or bool({name, answer["label"]} & {*self.labels}))
            and (self.min_score is None or score >= self.min_score)
            and (self.max_score is None or score < self.max_score)
            and (self.known is None or answer.get("known", True) is self.known)
            and (not self.disagrees or without(answer) is not None)
        )

    def wants_end(self, status: TaskStatus) -> bool:
        """Return whether the end of a task is wanted."""
        return not self.statuses or status in self.statuses


def without(answer: Mapping[str, Any]) -> str | None:
    """Return what would have been answered without a sub-network, if that is another class.

    Example:
        >>> without({"label": "heron", "route": {"without": {"label": "egret", "score": 0.5}}})
        'egret'
    """
    label: str | None = ((answer.get("route") or {}).get("without") or {}).get("label")
    return label if label != answer.get("label") else None
