"""Waiting for what workers do to a task."""

from registry import tasks
from tests.waiting import wait_until


def wait_for(session_factory, task_id, condition, timeout_s=90):
    """Return the task's row once it is as `condition` says."""

    def look():
        with session_factory() as session:
            task = tasks.get_task(session, task_id)
        seen.append((task.status, task.progress, task.error))
        return task if condition(task) else None

    seen = []
    try:
        return wait_until(look, timeout_s)
    except AssertionError as error:
        raise AssertionError(f"{error}; last seen: {seen[-1]}") from None


def is_training(task):
    return task.progress["phase"] == "training"


def has_ended(task):
    return task.status in ("succeeded", "failed", "cancelled", "declined")
