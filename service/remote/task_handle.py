"""What the synchronous and the asynchronous task have in common, listed once: their reply, and what can be done."""

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from service.remote import replies, task_calls
from service.remote.calls import Exchange
from service.remote.methods import Awaited, Waiting
from service.remote.statuses import ENDED

P = ParamSpec("P")
WaitingT = TypeVar("WaitingT", bound="WaitingTask")
AwaitedT = TypeVar("AwaitedT", bound="AwaitedTask")


class Renews(Generic[P]):
    """A method of both tasks: asks something about the task, keeps the reply, and returns the task.

    Args:
        build: Describes what to ask, given the task's id.
    """

    def __init__(self, build: Callable[Concatenate[str, P], Exchange[replies.Task]]) -> None:
        self._build = build
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, task: None, owner: type) -> Self: ...

    @overload
    def __get__(self, task: WaitingT, owner: type) -> Callable[P, WaitingT]: ...

    @overload
    def __get__(
        self, task: AwaitedT, owner: type
    ) -> Callable[P, Coroutine[Any, Any, AwaitedT]]: ...

    def __get__(self, task: Any, owner: type) -> Any:
        if task is None:
            return self
        method = self._awaited(task) if isinstance(task, AwaitedTask) else self._waiting(task)
        method.__doc__ = self.__doc__
        return method

    def _waiting(self, task: "WaitingTask") -> Callable[..., Any]:
        def method(*args: P.args, **kwargs: P.kwargs) -> "WaitingTask":
            task.reply = task._client.ask(self._build(task.id, *args, **kwargs))
            return task

        return method

    def _awaited(self, task: "AwaitedTask") -> Callable[..., Any]:
        async def method(*args: P.args, **kwargs: P.kwargs) -> "AwaitedTask":
            task.reply = await task._client.ask(self._build(task.id, *args, **kwargs))
            return task

        return method


def _wait(
    task_id: str,
    timeout_s: float | None = None,
    *,
    on_progress: Callable[[replies.Task], None] | None = None,
) -> Exchange[replies.Task]:
    """Wait until it has ended, however it ended; outlives a restart of the service.

    Args:
        task_id: The id of the task, which its method leaves out.
        timeout_s: Longest wait; None for as long as it takes.
        on_progress: Told about the task about twice a second.

    Raises:
        WaitTimeoutError: If it has not ended by then.
        UnreachableError: If the service stays away.
    """
    return task_calls.follow_task(task_id, on_progress, timeout_s=timeout_s)


def _refresh(task_id: str) -> Exchange[replies.Task]:
    """Read it again."""
    return task_calls.task(task_id)


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
        """`queued`, `running`, `cancelling`, `held`, `succeeded`, `failed`, `cancelled`, `superseded` or `declined`."""
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

    wait = Renews(_wait)
    refresh = Renews(_refresh)
    cancel = Renews(task_calls.cancel_task)
    retry = Renews(task_calls.retry_task)
    publish = Renews(task_calls.publish_task)


class WaitingTask(TaskHandle):
    """A task of the synchronous client."""

    _client: Waiting[Any]


class AwaitedTask(TaskHandle):
    """A task of the asynchronous client."""

    _client: Awaited[Any]
