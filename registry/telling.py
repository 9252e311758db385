"""Telling subscribers what happens to learners, in the transaction in which it does, so that one comes with the other.

Whoever listens for nothing costs one query of a small table.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from registry import classes, deliveries, learners, subscriptions
from registry.class_accuracy import recall
from registry.deliveries import NewMessage
from registry.measures import Counts, Measure, difference
from registry.notices import ACCURACY_DROPPED, TASK_ENDED, Rule
from registry.statuses import TaskStatus
from registry.tables import SubscriptionRow, TaskRow, VersionRow

MOST_CLASSES = 50
"""Classes of a task that a message names."""


def task_ended(session: Session, task: TaskRow, status: TaskStatus) -> None:
    """Tell that a task has come to an end, or is held for a person to decide."""
    subscribers = [
        one
        for one in subscriptions.listening(session, TASK_ENDED, [task.learner_id])
        if Rule.of(one.rule).wants_end(status)
    ]
    if not subscribers:
        return
    shown = classes.shown(session, task.learner_id)
    data = {
        "learner": learners.get_learner_by_id(session, task.learner_id).name,
        "task": task.id,
        "index": task.index,
        "name": task.name,
        "mode": task.mode,
        "status": str(status),
        "classes": [shown.name(label) for label in task.classes[:MOST_CLASSES]],
        "version": task.version,
        "error": task.error,
        "reason": (task.result or {}).get("reason"),
    }
    _say(session, subscribers, TASK_ENDED, task.learner_id, data)


def published(
    session: Session,
    version: VersionRow,
    parent: VersionRow | None,
    now: Mapping[int, Counts],
    before: Mapping[int, Counts],
) -> None:
    """Tell of tasks and classes that a new version knows less well than the one before.

    Args:
        session: Database session.
        version: The new version.
        parent: The one before.
        now: What the new version was measured at, by the index of the task.
        before: The same of the one before.
    """
    if parent is None:
        return
    subscribers = subscriptions.listening(session, ACCURACY_DROPPED, [version.learner_id])
    if not subscribers:
        return
    drops = [*_task_drops(now, before), *_class_drops(session, version, parent)]
    learner = learners.get_learner_by_id(session, version.learner_id).name
    for one in subscribers:
        least = Rule.of(one.rule).min_drop
        wanted = [drop for drop in drops if drop["drop"] >= least]
        if wanted:
            data = {
                "learner": learner,
                "version": version.number,
                "before": parent.number,
                "drops": wanted,
            }
            _say(session, [one], ACCURACY_DROPPED, version.learner_id, data)


def _task_drops(now: Mapping[int, Counts], before: Mapping[int, Counts]) -> list[dict[str, Any]]:
    drops = []
    for index in sorted(now.keys() & before.keys()):
        drop = _drop(now[index].measure(), before[index].measure())
        if drop is not None:
            drops.append({"task": index, **drop})
    return drops


def _class_drops(session: Session, version: VersionRow, parent: VersionRow) -> list[dict[str, Any]]:
    shown = classes.shown(session, version.learner_id)
    known = set(parent.classes)
    drops = []
    for label in version.classes:
        if label not in known or label in shown.hidden:
            continue
        drop = _drop(_recall(version, label), _recall(parent, label))
        if drop is not None:
            drops.append({"class": shown.name(label), **drop})
    return drops


def _recall(version: VersionRow, label: str) -> Measure | None:
    confusion = version.metrics.get("confusion") or {}
    return recall(confusion, version.metrics.get("cross_validated") or {}, label)


def _drop(now: Measure | None, before: Measure | None) -> dict[str, Any] | None:
    """Return what fell; None if it did not, or may not have: what few images say is no news."""
    change = difference(now, before)
    if now is None or before is None or change is None or change.high >= 0:
        return None
    return {
        "before": round(before.value, 6),
        "now": round(now.value, 6),
        "drop": round(-change.value, 6),
        "n": now.n,
    }


def _say(
    session: Session,
    subscribers: Sequence[SubscriptionRow],
    event: str,
    learner_id: str,
    data: dict[str, Any],
) -> None:
    deliveries.add(session, [NewMessage(one.id, learner_id, event, data) for one in subscribers])
