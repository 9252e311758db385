"""One version, and what would change if it were served: read before anybody moves anything."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.strategies.catalog import find_strategy
from models.strategies.spelling import strategy_name
from registry import accuracy, ancestry, classes, learners, versions
from registry.comparison import Comparison, compare
from registry.measures import Measure
from registry.postgres.database import Session
from registry.tables import LearnerRow, VersionRow
from service.dashboard.synapse_view import Routing, routing_of


@dataclass(frozen=True)
class Effect:
    """What serving another version does."""

    lost: list[str]
    """Classes that are no longer answered."""
    regained: list[str]
    """Classes that are answered again."""
    superseded: list[int]
    """Tasks that end up beside the line if the head moves too."""
    restored: list[int]
    """Tasks that count again if the head moves too."""
    is_busy: bool
    """Whether a task waits or runs, so that the head cannot move now."""


@dataclass(frozen=True)
class VersionPage:
    """Everything on a version's page."""

    learner: str
    number: int
    live: int
    head: int
    parent: int | None
    task_index: int
    """Below 0 a consolidation made it."""
    tasks: list[int]
    stage: str
    waiting: list[int]
    """Indexes of the tasks that wait for a consolidation."""
    reason: str | None
    """Why it was adopted, of a version that a consolidation made."""
    brought: list[str]
    """Names of the classes of its newest task."""
    n_classes: int
    size_bytes: int
    created_at: datetime
    is_erased: bool
    strategy: str
    is_one_graph: bool
    """Whether what it answers can be written as an ONNX file."""
    config: dict[str, Any]
    seed: int
    manifest_sha256: str | None
    backbone: str
    seconds: float | None
    """Time spent learning it; None where that is not known."""
    accuracy: Measure | None
    """On all images of what it knows."""
    beside_live: Comparison | None
    """It and the live version on the tasks of both; None if it is live, or nothing was measured."""
    effect: Effect
    routing: Routing | None

    @property
    def is_live(self) -> bool:
        """Whether it is served."""
        return self.number == self.live

    @property
    def is_head(self) -> bool:
        """Whether the next task builds on it."""
        return self.number == self.head

    @property
    def can_move(self) -> bool:
        """Whether there is anything to move to it."""
        return not self.is_erased and not (self.is_live and self.is_head)


def version_page(session: Session, learner_name: str, number: int) -> VersionPage:
    """Return everything on a version's page.

    Raises:
        LearnerNotFoundError: If there is no learner of this name.
        VersionNotFoundError: If it has no version of this number.
    """
    learner = learners.get_learner(session, learner_name)
    row = versions.get_version(session, learner.id, number)
    live = learners.live_version(session, learner.id)
    return VersionPage(
        learner=learner.name,
        number=number,
        live=live,
        head=learner.head_version,
        parent=row.parent,
        task_index=row.task_index,
        tasks=row.tasks,
        stage=row.stage,
        waiting=row.unconsolidated,
        reason=(row.metrics.get("consolidation") or {}).get("reason"),
        brought=_brought(session, row),
        n_classes=len(row.classes),
        size_bytes=row.size_bytes,
        created_at=row.created_at,
        is_erased=row.erased_at is not None,
        strategy=learner.strategy,
        is_one_graph=find_strategy(strategy_name(learner.strategy, row.config)).is_one_graph,
        config=row.config,
        seed=row.seed,
        manifest_sha256=row.manifest_sha256,
        backbone=learner.backbone,
        seconds=_learning_seconds(row),
        accuracy=accuracy.of_version(session, learner.id, number, row.tasks),
        beside_live=None if live in (0, number) else compare(session, learner.id, number, live),
        effect=_effect(session, learner, row, live),
        routing=routing_of(session, row),
    )


def _effect(session: Session, learner: LearnerRow, row: VersionRow, live: int) -> Effect:
    served = versions.get_version(session, learner.id, live).classes if live else []
    shown = classes.shown(session, learner.id)
    move = ancestry.if_head_moved(session, learner.id, row.number)
    return Effect(
        lost=[shown.name(label) for label in served if label not in set(row.classes)],
        regained=[shown.name(label) for label in row.classes if label not in set(served)],
        superseded=move.superseded,
        restored=move.restored,
        is_busy=move.is_busy,
    )


def _brought(session: Session, row: VersionRow) -> list[str]:
    if row.task_index <= 0:
        return []
    shown = classes.shown(session, row.learner_id)
    by_task = ancestry.brought(session, row.learner_id, row.number)
    return [shown.name(label) for label in by_task.get(row.task_index, [])]


def _learning_seconds(row: VersionRow) -> float | None:
    seconds = row.metrics.get("seconds")
    return sum(seconds.values()) if isinstance(seconds, dict) and seconds else None
