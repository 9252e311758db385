"""The statuses of a task, and what groups of them mean. Rows, answers and events hold them as their texts.

    queued -> running -> succeeded | failed | cancelled

besides `cancelling`, `held` and `superseded`, and `declined` of a consolidation; docs/architecture.md tells the life of
a task.
"""

from enum import StrEnum


class TaskStatus(StrEnum):
    """Where a task is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    """A worker has it, and is to stop."""
    HELD = "held"
    """A person decides: its images looked wrong, or it was learned and broke `max_forgetting`."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    """It was published, but does not lead to the learner's head any more."""
    DECLINED = "declined"
    """Of a consolidation: it was tried, and what was known would not have been answered better."""


WITH_WORKER = frozenset({TaskStatus.RUNNING, TaskStatus.CANCELLING})
"""Some worker has the task."""

UNFINISHED = WITH_WORKER | {TaskStatus.QUEUED}
"""The task moves by itself: it waits for a worker, or one has it."""

ENDED = frozenset(TaskStatus) - UNFINISHED
"""Nothing happens to the task any more by itself; a person may still publish it, or queue it again."""

WAITING = frozenset({TaskStatus.QUEUED, TaskStatus.HELD})
"""The task waits for a worker or a person, so it can be cancelled at once."""

CANCELLABLE = WAITING | {TaskStatus.RUNNING}
"""Cancelling the task changes something."""

PENDING = UNFINISHED | {TaskStatus.HELD}
"""The task may still be published."""

COUNTING = PENDING | {TaskStatus.SUCCEEDED}
"""The learner has the task's images, or is about to have them."""

OF_JOBS = UNFINISHED - {TaskStatus.CANCELLING} | {
    TaskStatus.SUCCEEDED,
    TaskStatus.FAILED,
    TaskStatus.CANCELLED,
}
"""What a prediction job may be: it is cancelled at once."""

LEARNED = frozenset({TaskStatus.SUCCEEDED, TaskStatus.SUPERSEDED})
"""A version was learned from the task and from the feedback it took."""

RETRYABLE = frozenset({TaskStatus.FAILED, TaskStatus.CANCELLED})
"""The task ended without a version: it can be queued again, and feedback it took is pending again."""
