"""How well each class of the live version is recognised, counted from the confusions that versions keep."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry import ancestry, learners
from registry.learners import ClassInfo
from registry.measures import Measure, difference, share
from registry.tables import LearnerRow, VersionRow

Confusion = Mapping[str, Mapping[str, Mapping[str, int]]]
"""Images by index of the task they came with, true label and answered label."""
NOTHING: tuple[dict[str, Any], dict[str, Any]] = ({}, {})


@dataclass(frozen=True)
class ClassAccuracy:
    """How well a class is recognised: the share of its images that were answered with it. None of no image."""

    learned: Measure | None
    """By the version that learned the task that introduced it, among the classes known then."""
    now: Measure | None
    """By the live version, among all its classes."""

    @property
    def change(self) -> Measure | None:
        """How far it is from what it was."""
        return difference(self.now, self.learned)


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
    # A task from before a class may show it since its images were corrected.
    first = ancestry.introduced(session, learner.id, live)
    learned = {info.label: max(learned_by[info.task_index], first[info.label]) for info in infos}
    counts = _counts(session, learner.id, {live, *learned.values()})
    return {
        info.label: ClassAccuracy(
            recall(*counts.get(learned[info.label], NOTHING), info.label),
            recall(*counts.get(live, NOTHING), info.label),
        )
        for info in infos
    }


def recall(
    confusion: Confusion, cross_validated: Mapping[str, Mapping[str, int]], label: str
) -> Measure | None:
    """Return the share of a label's images that were answered right; None of no image.

    Args:
        confusion: Of all images that were measured on.
        cross_validated: How many of these were left out in turn, by task and label.
        label: The true one.

    Example:
        >>> recall({"1": {"heron": {"heron": 3, "egret": 1}}}, {}, "heron").value
        0.75
    """
    rows = [by_label[label] for by_label in confusion.values() if label in by_label]
    return share(
        sum(row.get(label, 0) for row in rows),
        sum(sum(row.values()) for row in rows),
        sum(by_label.get(label, 0) for by_label in cross_validated.values()),
    )


def _counts(
    session: Session, learner_id: str, numbers: Collection[int]
) -> dict[int, tuple[dict[str, Any], dict[str, Any]]]:
    """Return confusions and numbers of images left out in turn, by version."""
    query = select(
        VersionRow.number, VersionRow.metrics["confusion"], VersionRow.metrics["cross_validated"]
    ).where(VersionRow.learner_id == learner_id, VersionRow.number.in_(numbers))
    return {
        number: (confusion or {}, cross_validated or {})
        for number, confusion, cross_validated in session.execute(query)
    }
