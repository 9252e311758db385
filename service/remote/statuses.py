"""The statuses of tasks as answers name them: the client's own copy, since it needs nothing of the server.

A test compares it with `registry.statuses`.
"""

from enum import StrEnum


class TaskStatus(StrEnum):
    """Where a task is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    HELD = "held"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    DECLINED = "declined"


ENDED = frozenset(TaskStatus) - {TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.CANCELLING}
"""No worker will change the task any more."""

WORKED_OUT = frozenset({TaskStatus.SUCCEEDED, TaskStatus.HELD})
"""A worker came to the end of the task, with a version to serve or something for a person to decide."""
