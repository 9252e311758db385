"""How long an attempt at a task may take where the operator says nothing: far longer than any that goes well.

It is there for what would hold a worker for ever: a process stuck in a driver, or far more work than anybody meant. So
it is counted for the slowest sensible case, the largest backbone on a slow processor, which a small one undercuts a
thousandfold.
"""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry import tasks
from registry.tables import CONSOLIDATE, SampleRow, TaskRow

FLOOR_S = 2 * 3600.0
"""For what does not depend on the images: a backbone that is downloaded at its first use, above all."""
PASS_S = 5.0
"""Of one image once through the backbone, back included."""
OTHER_PASSES = 20
"""Measuring, calibrating and screening, and training where the number of epochs is left to the strategy."""
MOST_EPOCHS = 1000
"""Most that can be asked for; a configuration of an earlier release may say more."""
MOST_S = 14 * 24 * 3600.0


def time_limit_s(session: Session, task_id: str) -> float:
    """Return how long an attempt at a task may take, in seconds."""
    task = tasks.get_task(session, task_id)
    # Earlier images count too: they are measured again, and some strategies train on them again.
    is_earlier = TaskRow.index > 0 if task.mode == CONSOLIDATE else TaskRow.index <= task.index
    images = (
        select(func.count(), func.count(TaskRow.id.distinct()))
        .select_from(SampleRow)
        .join(TaskRow, TaskRow.id == SampleRow.task_id)
        .where(TaskRow.learner_id == task.learner_id, is_earlier)
    )
    n_images, n_with_images = session.execute(images).one()
    epochs = task.config.get("epochs")
    return limit_for(
        n_images,
        epochs=epochs if isinstance(epochs, int) else 0,
        n_tasks=max(task.index, n_with_images),
    )


def limit_for(n_images: int, *, epochs: int, n_tasks: int) -> float:
    """Return the limit in seconds for a number of images; some strategies take one pass for each task.

    Example:
        >>> round(limit_for(100, epochs=8, n_tasks=1) / 3600, 1), limit_for(10**6, epochs=8, n_tasks=1) / 24 / 3600
        (6.0, 14.0)
    """
    passes = OTHER_PASSES + min(epochs, MOST_EPOCHS) + n_tasks
    return min(FLOOR_S + PASS_S * n_images * passes, MOST_S)
