"""Waiting for what workers do to a task."""

import time

from registry import tasks


def wait_for(session_factory, task_id, condition, timeout_s=90):
    """Return the task's row once it is as `condition` says."""
    deadline = time.monotonic() + timeout_s
    while True:
        with session_factory() as session:
            task = tasks.get_task(session, task_id)
        if condition(task):
            return task
        assert time.monotonic() < deadline, (task.status, task.progress, task.error)
        time.sleep(0.02)


def is_training(task):
    return task.progress["phase"] == "training"


def has_ended(task):
    return task.status in ("succeeded", "failed", "cancelled")
