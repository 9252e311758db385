"""What is done to a task by hand: changed, and noted in the audit log, in one transaction."""

from collections.abc import Callable

from registry import audit, learners, tasks
from registry.audit import Actor
from registry.postgres.database import Session
from registry.tables import TaskRow


def change_task(
    session: Session,
    actor: Actor,
    action: str,
    task_id: str,
    change: Callable[[Session, str], object],
) -> TaskRow:
    """Change a task and note it with its status before and after; return the task.

    Args:
        session: Database session.
        actor: Who changes it.
        action: What the audit log calls it.
        task_id: The task.
        change: Changes it; its errors come through, and then nothing is noted.

    Raises:
        TaskNotFoundError: If there is no such task.
    """
    before = tasks.get_task(session, task_id).status
    change(session, task_id)
    task = tasks.get_task(session, task_id)
    audit.record(
        session,
        actor,
        action,
        learner=learners.get_learner_by_id(session, task.learner_id).name,
        subject=task_id,
        details={"status": {"before": before, "after": task.status}},
    )
    return task
