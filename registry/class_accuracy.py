"""How well each class of the live version is recognised, counted from the confusions that versions keep."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry import ancestry, learners
from registry.learners import ClassInfo
from registry.tables import LearnerRow, VersionRow

Confusion = Mapping[str, Mapping[str, Mapping[str, int]]]
"""Images by index of the task they came with, true label and answered label."""


@dataclass(frozen=True)
class Recall:
    """How many of a class's held-out images were answered with it."""

    n: int
    n_right: int

    @property
    def share(self) -> float | None:
        """The share of them; None if there was none."""
        return self.n_right / self.n if self.n else None


@dataclass(frozen=True)
class ClassAccuracy:
    """How well a class is recognised."""

    learned: Recall
    """By the version that learned the task that introduced it, among the classes known then."""
    now: Recall
    """By the live version, among all its classes."""


def of_classes(
    session: Session, learner: LearnerRow, infos: Sequence[ClassInfo]
) -> dict[str, ClassAccuracy]:
    """Return how well some classes of the live version are recognised, by label. A handful of queries.

    Nothing is counted of a version from before confusions were kept.
    """
    live = learners.live_version(session, learner.id)
    learned_by: dict[int, int] = {}
    for step in ancestry.line(session, learner.id, live):
        for task in step.tasks:
            learned_by.setdefault(task, step.number)
    numbers = {live, *(learned_by[info.task_index] for info in infos)}
    confusions = _confusions(session, learner.id, numbers)
    return {
        info.label: ClassAccuracy(
            recall(confusions.get(learned_by[info.task_index], {}), info.label),
            recall(confusions.get(live, {}), info.label),
        )
        for info in infos
    }


def recall(confusion: Confusion, label: str) -> Recall:
    """Count a label's held-out images, and those that were answered right.

    Example:
        >>> recall({"1": {"heron": {"heron": 3, "egret": 1}}}, "heron").share
        0.75
    """
    rows = [by_label[label] for by_label in confusion.values() if label in by_label]
    return Recall(sum(sum(row.values()) for row in rows), sum(row.get(label, 0) for row in rows))


def _confusions(
    session: Session, learner_id: str, numbers: Collection[int]
) -> dict[int, dict[str, Any]]:
    query = select(VersionRow.number, VersionRow.metrics["confusion"]).where(
        VersionRow.learner_id == learner_id, VersionRow.number.in_(numbers)
    )
    return {number: confusion or {} for number, confusion in session.execute(query)}
