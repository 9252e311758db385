"""What the synchronous and the asynchronous task have in common: the reply they were made from."""

from typing import Any

from service.remote import replies
from service.remote.statuses import ENDED


class TaskHandle:
    """A task as it was when it was last read; `task["classes"]` reads the reply like the dictionary it is."""

    def __init__(self, reply: replies.Task) -> None:
        self.reply = reply

    @property
    def id(self) -> str:
        """Its id, `tsk_...`."""
        return self.reply["id"]

    @property
    def status(self) -> str:
        """`queued`, `running`, `cancelling`, `held`, `succeeded`, `failed`, `cancelled` or `superseded`."""
        return self.reply["status"]

    @property
    def version(self) -> int | None:
        """The version it was published as; None before."""
        return self.reply["version"]

    @property
    def error(self) -> replies.TaskError | None:
        """Why it failed."""
        return self.reply["error"]

    @property
    def has_ended(self) -> bool:
        """Whether no worker will change it any more."""
        return self.status in ENDED

    def __getitem__(self, key: str) -> Any:
        reply: dict[str, Any] = {**self.reply}
        return reply[key]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} of {self.reply['learner']}: {self.status}>"
