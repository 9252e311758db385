"""One look at the database for everybody who waits for something to happen to a task.

Who follows a task asks for the next look; all who ask within a third of a second share one query, in one thread.
Hundreds of open streams then cost as much as one. `wake` brings the look forward: something was heard of some task.
"""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from registry import events
from registry.postgres.database import Sessions
from registry.statuses import TaskStatus

LOOK_S = 0.3
"""Between two looks."""


@dataclass(frozen=True)
class Latest:
    """How far a task has come."""

    seq: int
    """Of its last event; 0 before the first."""
    status: TaskStatus


class EventFeed:
    """Looks at the tasks that somebody waits for. Belongs to the event loop that first asks it.

    Args:
        sessions: Of the whole database: whoever asks has been admitted to the task before.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._wanted: set[str] = set()
        self._look: asyncio.Task[dict[str, Latest]] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._heard = asyncio.Event()

    def wake(self) -> None:
        """Look soon rather than at the next third of a second. From any thread; never waits."""
        if self._loop is not None:
            with suppress(RuntimeError):  # it is closed: nobody waits any more
                self._loop.call_soon_threadsafe(lambda: self._heard.set())

    async def next(self, task_id: str) -> Latest | None:
        """Wait for the next look and return how far the task has come then; None if there is no such task.

        Raises:
            RegistryError: If the database does not answer.
        """
        if self._loop is not asyncio.get_running_loop():
            self._loop, self._heard = asyncio.get_running_loop(), asyncio.Event()
        self._wanted.add(task_id)
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._take())
            self._look.add_done_callback(_hear)
        # Who goes away must not take the look of all others along.
        return (await asyncio.shield(self._look)).get(task_id)

    async def _take(self) -> dict[str, Latest]:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._heard.wait(), LOOK_S)
        self._heard.clear()
        wanted, self._wanted, self._look = self._wanted, set(), None
        return await run_in_threadpool(_read, self._sessions, wanted)


def _hear(look: asyncio.Task[dict[str, Latest]]) -> None:
    """Take note of an error, which may be there for nobody: those who waited have gone."""
    if not look.cancelled():
        look.exception()


def _read(sessions: Sessions, task_ids: Collection[str]) -> dict[str, Latest]:
    with sessions() as session:
        latest = events.latest(session, task_ids)
    return {task_id: Latest(*how_far) for task_id, how_far in latest.items()}
