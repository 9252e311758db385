"""How consolidations stand, for the pages. Read-only; nothing here knows HTML."""

from dataclasses import dataclass
from datetime import datetime

from registry import learners, tasks
from registry.postgres.database import Session
from registry.schedule import Schedule
from registry.statuses import UNFINISHED, TaskStatus
from registry.tables import CONSOLIDATE, TaskRow
from service.dashboard.view_models import Queued
from service.schemas.consolidations import LearnerConsolidation
from service.use_cases.consolidations import read_consolidation, read_learner_consolidation

SHOWN = 5
"""On a page, newest first."""


@dataclass(frozen=True)
class ConsolidationView(Queued):
    """A consolidation as a row of a table."""

    id: str
    learner: str
    number: int
    """From 1."""
    status: TaskStatus
    of: list[int]
    """Indexes of its tasks; empty until a worker has it."""
    standing: str
    phase: str
    fraction: float
    ended_at: datetime | None


@dataclass(frozen=True)
class ConsolidationPanel:
    """What a learner's page says of consolidating."""

    now: LearnerConsolidation
    rows: list[ConsolidationView]
    """The newest ones."""
    can_ask: bool
    """Whether asking for one changes anything."""

    @property
    def sentence(self) -> str:
        """How the learner stands; without what its newest row says, which moves."""
        return self.now.standing.partition(" Consolidation: ")[0]


def panel_of(session: Session, learner_name: str, schedule: Schedule) -> ConsolidationPanel | None:
    """Return what a learner's page says; None where its strategy never consolidates, or there is nothing to say.

    Raises:
        LearnerNotFoundError: If there is no learner of this name.
    """
    learner = learners.get_learner(session, learner_name)
    now = read_learner_consolidation(session, learner, schedule)
    rows = newest(session, learner_name)
    if now is None or not (now.waiting or rows):
        return None
    begun = any(row.is_active and row.status != TaskStatus.QUEUED for row in rows)
    can_ask = bool(now.waiting) and not begun and schedule.when != "never"
    return ConsolidationPanel(now, rows, can_ask)


def newest(session: Session, learner_name: str | None) -> list[ConsolidationView]:
    """Return the newest consolidations; of one learner, or of all.

    Raises:
        LearnerNotFoundError: If there is no learner of this name.
    """
    page = tasks.list_tasks(session, learner_name=learner_name, mode=CONSOLIDATE, limit=SHOWN)
    return _views(session, page.items)


def active(session: Session, learner_name: str | None, *, limit: int) -> list[ConsolidationView]:
    """Return the consolidations that wait or run, oldest first; of one learner, or of all.

    Raises:
        LearnerNotFoundError: If there is no learner of this name.
    """
    page = tasks.list_tasks(
        session, learner_name=learner_name, mode=CONSOLIDATE, statuses=UNFINISHED, limit=limit
    )
    return _views(session, page.items[::-1])


def _views(session: Session, rows: list[TaskRow]) -> list[ConsolidationView]:
    names = learners.names(session, {row.learner_id for row in rows})
    return [_view(session, row, names[row.learner_id]) for row in rows]


def _view(session: Session, row: TaskRow, learner: str) -> ConsolidationView:
    told = read_consolidation(session, row)
    assert told is not None
    is_running = row.status == TaskStatus.RUNNING
    return ConsolidationView(
        id=row.id,
        learner=learner,
        number=-row.index,
        status=row.status,
        of=told.tasks or [],
        standing=told.standing,
        phase=str(row.progress.get("phase", row.status)) if is_running else str(row.status),
        fraction=float(row.progress.get("fraction", 0.0)),
        ended_at=row.finished_at,
    )
