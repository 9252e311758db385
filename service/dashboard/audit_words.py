"""What an entry of the audit log says to a person: a sentence for each kind of change, and what it is about."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from registry.tables import AuditRow
from service.wording import listed

Details = Mapping[str, Any]


def _counted(details: Details, name: str, noun: str) -> str:
    n = details.get(name)
    if not isinstance(n, int):
        return f"{noun}s"
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _moved(details: Details) -> str:
    before, after = (details.get(side) or {} for side in ("before", "after"))
    said = f"served version {after.get('version')} instead of {before.get('version')}"
    if after.get("head") != before.get("head"):
        said += f", and the next task builds on version {after.get('head')}"
    return said


def _class(details: Details) -> str:
    done = []
    for name, change in details.items():
        after = change.get("after") if isinstance(change, dict) else change
        if name == "name":
            done.append(f"called it {after}" if after else "called it by its label again")
        elif name == "hidden":
            done.append("hid it" if after else "showed it again")
        elif name == "min_score":
            done.append(f"set from which score it is known to {after or 'any'}")
    return f"changed a class: {listed(done)}" if done else "changed a class"


def _unlearned(details: Details) -> str:
    tasks, labels = details.get("tasks") or [], details.get("classes") or []
    parts = [f"task {index}" for index in tasks] + [str(label) for label in labels]
    return f"asked to unlearn {listed(parts, most=6)}" if parts else "asked to unlearn something"


def _key(details: Details) -> str:
    said = f"made the key {details.get('name')} with the role {details.get('role')}"
    learners = details.get("learners")
    return f"{said}, only for {listed(learners, most=6)}" if learners else said


def _status(said: str) -> Callable[[Details], str]:
    return lambda _: said


SENTENCES: Mapping[str, Callable[[Details], str]] = {
    "alias.move": _moved,
    "class.update": _class,
    "feedback.give": _status("said what an image shows"),
    "feedback.withdraw": _status("took back what was said about an image"),
    "installation.restore": _status("restored the installation from a backup"),
    "key.create": _key,
    "key.revoke": lambda details: f"revoked the key {details.get('name')}",
    "key.update": lambda details: f"limited the key {details.get('name')} otherwise",
    "learner.create": lambda details: (
        f"created the learner, with the strategy {details.get('strategy')} on {details.get('backbone')}"
    ),
    "learner.delete": _status("deleted the learner, with all that it knew"),
    "learner.import": _status("imported the learner from a bundle"),
    "learner.update": _status("changed what is noted about the learner"),
    "prediction_job.cancel": _status("stopped a prediction job"),
    "prediction_job.create": lambda details: (
        f"asked for {_counted(details, 'images', 'image')} to be predicted by version {details.get('version')}"
    ),
    "prediction_job.delete": _status("deleted a prediction job"),
    "review.confirm": lambda details: f"confirmed {_counted(details, 'images', 'image')}",
    "review.discard": lambda details: f"discarded {_counted(details, 'images', 'image')}",
    "review.name": lambda details: f"named {_counted(details, 'images', 'image')}",
    "review.undo": lambda details: (
        f"took back what was said about {_counted(details, 'images', 'image')}"
    ),
    "samples.delete": lambda details: (
        f"deleted {_counted(details, 'images', 'image')} that a task had learned from"
    ),
    "subscription.create": lambda details: f"asked to be told of events, as {details.get('name')}",
    "subscription.delete": lambda details: f"deleted the notification {details.get('name')}",
    "subscription.send_again": lambda details: f"sent a message of {details.get('name')} again",
    "subscription.test": lambda details: f"sent a test to {details.get('name')}",
    "subscription.update": _status("changed a notification"),
    "task.cancel": _status("cancelled a task"),
    "task.consolidate": _status("asked for a consolidation"),
    "task.correct": lambda details: (
        f"took a correction of {_counted(details, 'images', 'image')} back"
        if details.get("undoes")
        else f"corrected {_counted(details, 'images', 'image')}"
    ),
    "task.create": lambda details: (
        f"taught {_counted(details, 'images', 'image')}"
        + (f" of {n} {'class' if n == 1 else 'classes'}" if (n := details.get("classes")) else "")
    ),
    "task.publish": _status("published a task that was held"),
    "task.retry": _status("queued a task again"),
    "task.unlearn": _unlearned,
}
"""What was done, by action; it goes on after the name of who did it."""


def sentence(action: str, details: Details) -> str:
    """Say what was done. Of an action that is not known here, its name has to do.

    Example:
        >>> sentence("task.create", {"images": 36, "classes": 3})
        'taught 36 images of 3 classes'
        >>> sentence("alias.move", {"before": {"version": 4, "head": 4}, "after": {"version": 3, "head": 4}})
        'served version 3 instead of 4'
        >>> sentence("moon.paint", {})
        'moon.paint'
    """
    said = SENTENCES.get(action)
    return action if said is None else said(details)


def address(row: AuditRow, learners: frozenset[str]) -> str | None:
    """Return the page of what an entry is about, as far as it has one and is still there.

    Args:
        row: The entry.
        learners: Names of the learners that there are.
    """
    if row.action.startswith("key."):
        return "/admin/keys"
    if row.learner is None or row.learner not in learners:
        return None
    page = f"/admin/learners/{row.learner}"
    if row.action == "alias.move":
        after = row.details.get("after")
        number = after.get("version") if isinstance(after, dict) else None
        return f"{page}/versions/{number}" if isinstance(number, int) and number > 0 else page
    if row.action == "class.update":
        return f"{page}/classes/{quote(row.subject, safe='')}"
    if row.action == "prediction_job.create":
        return f"{page}/jobs"
    return page
