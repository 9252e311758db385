"""Waiting for what workers do to a task."""

from benchmarks.chaos.system import command
from registry import tasks
from tests.processes import children
from tests.waiting import wait_until
from worker.title import WAIT


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


def learn_process(worker):
    """Return the process id of the one learn process of a worker that learns, as soon as there is one."""
    (pid,) = wait_until(
        lambda: [
            pid
            for pid in children(worker.pid)
            for words in [command(pid)]
            if "worker.learn" in words and WAIT not in words
        ]
    )
    return pid
