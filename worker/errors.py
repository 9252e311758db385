"""How an attempt to learn a task ends badly.

    TaskError
    └── PermanentTaskError, TemporaryTaskError

Both carry the failure code of the API and one sentence for the user.
"""


class TaskError(Exception):
    """Base of the ways an attempt ends badly."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class PermanentTaskError(TaskError):
    """Another attempt would end the same way: the task fails."""


class TemporaryTaskError(TaskError):
    """Another attempt may go well: the task is queued again."""
