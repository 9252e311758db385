"""What the pages that teach a learner show. Read-only; nothing here knows HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from registry import classes, learners, tasks
from registry.postgres.database import Session
from registry.schedule import Schedule
from registry.statuses import TaskStatus
from registry.tables import TaskRow
from service.dashboard import views
from service.dashboard.consolidation_view import panel_of
from service.dashboard.sentences import for_person, sentence, told
from service.dashboard.view_models import TaskView
from service.problems import FieldError, Problem

MOST_NAMES = 2000
"""Names of known classes that a page offers."""
MOST_REFUSED = 100
"""Pictures that a page names as left out."""
BLANK = "It shows nothing but one colour."


@dataclass(frozen=True)
class Refused:
    """A picture that was not taken, and why."""

    index: int | None
    """Which of those that were sent it is."""
    filename: str | None
    label: str | None
    reason: str


@dataclass(frozen=True)
class Refusal:
    """Why nothing was learned, in a person's words."""

    code: str
    notice: str
    pictures: list[Refused]


@dataclass(frozen=True)
class Taught:
    """What became of the pictures that were taught."""

    task: TaskView
    names: list[str]
    """What its classes are called."""
    n_images: int
    refused: list[Refused]
    notes: list[str]
    """How their folders were read, where that may surprise."""
    is_answering: bool
    """Whether this service answers with what was learned."""
    is_taken_back: bool
    """Whether an older version answers, since somebody wanted that."""
    live_version: int
    n_classes: int
    """That the live version knows."""
    is_consolidated_later: bool
    """Whether its pictures wait to shape the features too."""

    @property
    def moves(self) -> bool:
        """Whether there is something to wait for."""
        is_learned = self.task.status == TaskStatus.SUCCEEDED
        return self.task.is_active or (
            is_learned and not self.is_answering and not self.is_taken_back
        )

    @property
    def step(self) -> dict[str, Any]:
        """How far it is, in the form that pages show tasks in."""
        if self.task.is_active:
            shown = ("id", "status", "phase", "fraction", "note")
            return {key: getattr(self.task, key) for key in shown}
        return {
            "id": self.task.id,
            "status": "loading",
            "phase": "loading what was learned",
            "fraction": 1.0,
            "note": "",
        }


def known_names(session: Session, learner_name: str) -> list[str]:
    """Return what the classes are called that a learner knows or is about to learn.

    Raises:
        LearnerNotFoundError: If there is none of this name.
    """
    learner = learners.get_learner(session, learner_name)
    shown = classes.shown(session, learner.id)
    return sorted(map(shown.name, tasks.known_labels(session, learner)))[:MOST_NAMES]


def taught(
    session: Session,
    learner_name: str,
    task_id: str,
    schedule: Schedule,
    *,
    served: int | None,
) -> Taught:
    """Return what became of a task.

    Args:
        session: Database session.
        learner_name: Whose task it is.
        task_id: Which one.
        schedule: When consolidations may be.
        served: The version that this service has in memory as the live one; None without any.

    Raises:
        LearnerNotFoundError: If there is no such learner.
        Problem: `task-not-found`, if it has no such task.
    """
    learner = learners.get_learner(session, learner_name)
    row = tasks.get_task(session, task_id)
    if row.learner_id != learner.id:
        raise Problem("task-not-found")
    shown = classes.shown(session, learner.id)
    live = learners.live_version(session, learner.id)
    panel = panel_of(session, learner_name, schedule)
    version = row.version or 0
    return Taught(
        task=views.task_view(session, row, learner_name),
        names=[shown.name(label) for label in row.classes],
        n_images=row.n_train + row.n_eval,
        refused=_left_out(row),
        notes=list((row.layout or {}).get("notes", [])),
        is_answering=bool(version) and served is not None and version <= served,
        is_taken_back=bool(version) and live < version,
        live_version=live,
        n_classes=len(learners.class_table(session, learner)),
        is_consolidated_later=panel is not None and row.index in panel.now.waiting,
    )


def refusal_of(problem: Problem) -> Refusal:
    """Return a problem with an upload as a person reads it."""
    notice = told(problem)
    pictures = [_refused(error) for error in problem.errors[:MOST_REFUSED]]
    if problem.code == "images-rejected":
        count = problem.detail.partition(" ")[0]
        which = "1 photo" if count == "1" else f"{count} photos"
        notice = f"{which} cannot be used, so nothing was learned yet."
    elif problem.code == "validation" and pictures:
        notice, pictures = pictures[0].reason, []
    elif problem.code in ("layout-unclear", "nothing-new"):
        pictures = []
    return Refusal(problem.code, notice, pictures)


def _refused(error: FieldError) -> Refused:
    place, _, number = error.pointer.lstrip("/").partition("/")
    index = error.extra.get("index")
    if index is None and place in ("images", "labels") and number.isdigit():
        index = int(number)
    reason = for_person(error.code, error.detail) if error.code else error.detail
    return Refused(index, error.extra.get("filename"), error.extra.get("label"), reason)


def _left_out(row: TaskRow) -> list[Refused]:
    rejected: Sequence[dict[str, Any]] = row.rejected
    refused = [
        Refused(item["index"], item["filename"], None, sentence(item["problem"]) or "")
        for item in rejected
    ]
    blank = [Refused(item["index"], item["filename"], None, BLANK) for item in row.quarantined]
    return [*refused, *blank][:MOST_REFUSED]
