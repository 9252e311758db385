"""What is likely to be learned next."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.tables import LearnerRow, TaskRow


def recent_learner(session: Session) -> LearnerRow | None:
    """Return the learner of the newest task, or else the newest learner; None if there is none."""
    # Ids sort by the time they were made.
    newest = select(TaskRow.learner_id).order_by(TaskRow.id.desc()).limit(1).scalar_subquery()
    of_task = session.scalar(select(LearnerRow).where(LearnerRow.id == newest))
    if of_task is not None:
        return of_task
    return session.scalar(select(LearnerRow).order_by(LearnerRow.id.desc()).limit(1))
