"""Consolidations: asked for by hand, and how a learner stands."""

from registry import audit, consolidations, versions
from registry.audit import Actor
from registry.obstacles import find_obstacle
from registry.postgres.database import Session
from registry.schedule import Schedule
from registry.tables import CONSOLIDATE, LearnerRow, TaskRow
from registry.tasks import list_tasks
from service.schemas.consolidations import ConsolidationRead, LearnerConsolidation, stage_of
from service.use_cases.configs import require_strategy
from service.use_cases.consolidation_words import learner_standing, standing_of


def request_consolidation(
    session: Session, actor: Actor, learner: str, schedule: Schedule, name: str | None = None
) -> TaskRow:
    """Ask for what a learner has waiting to be consolidated as soon as none of its tasks waits, and note it.

    Raises:
        RegistryError: If there is no such learner, nothing waits, or the operator wants none.
    """
    task = consolidations.request(
        session, learner, schedule=schedule, name=name, key_id=actor.key_id
    )
    audit.record(session, actor, "task.consolidate", learner=learner, subject=task.id)
    return task


def read_consolidation(session: Session, task: TaskRow) -> ConsolidationRead | None:
    """Return what a consolidation is of and how it stands; None for any other task."""
    if task.mode != CONSOLIDATE:
        return None
    result = task.result or {}
    return ConsolidationRead(
        tasks=result.get("tasks") or task.options.get("tasks"),
        by_hand=bool(task.options.get("by_hand")),
        standing=standing_of(task, find_obstacle(session, task)),
        adopted=result.get("adopted"),
        reason=result.get("reason"),
        images=result.get("n_images"),
        seconds=result.get("seconds"),
        details=result.get("details") or {},
    )


def read_learner_consolidation(
    session: Session, learner: LearnerRow, schedule: Schedule
) -> LearnerConsolidation | None:
    """Return how far what a learner knows has been consolidated; None if its strategy never does, or it is empty."""
    if not learner.head_version or not _consolidates(learner):
        return None
    head = versions.get_version(session, learner.id, learner.head_version)
    last = consolidations.pending(session, learner.id)
    if last is None:
        newest = list_tasks(session, learner_name=learner.name, mode=CONSOLIDATE, limit=1)
        last = newest.items[0] if newest.items else None
    obstacle = None if last is None else find_obstacle(session, last)
    with_images = consolidations.waiting_tasks(session, head)
    return LearnerConsolidation(
        stage=stage_of(head.stage),
        waiting=head.unconsolidated,
        task_id=last.id if last is not None else None,
        status=last.status if last is not None else None,
        standing=learner_standing(head.unconsolidated, with_images, last, obstacle, schedule),
    )


def _consolidates(learner: LearnerRow) -> bool:
    return require_strategy(learner.strategy, learner.config).consolidates
