"""A task's events as server-sent events, read from the database and so resumable from any of them."""

import json
from collections.abc import AsyncIterator
from time import monotonic

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.concurrency import run_in_threadpool

from registry import events, tasks
from registry.errors import DatabaseUnavailableError, RegistryError
from registry.postgres.database import Sessions
from registry.statuses import ENDED
from service.dependencies import AppContext
from service.schemas.tasks import EventRead

PING_S = 15.0
"""Seconds of silence after which a comment keeps proxies from closing the stream."""
PAGE = 500
MAX_STREAM_S = 3600.0
"""A stream is closed after this; the client comes back with `Last-Event-ID` by itself."""


def read_events(
    sessions: Sessions, task_id: str, after: int, limit: int
) -> tuple[list[EventRead], bool]:
    """Return the events after a sequence number, and whether the task has ended.

    Raises:
        TaskNotFoundError: If there is no such task.
    """
    with sessions() as session:
        has_ended = tasks.get_task(session, task_id).status in ENDED
        rows = events.list_events(session, task_id, after_seq=after, limit=limit)
        return [EventRead.model_validate(row) for row in rows], has_ended


async def stream_events(context: AppContext, task_id: str, after: int) -> AsyncIterator[bytes]:
    """Yield events until the task has ended and all of them are out. A database that is away is waited for.

    Whoever follows the same task, or another one, shares the look for news.
    """
    started = last_sign = monotonic()
    is_news = True
    while monotonic() - started < MAX_STREAM_S and not context.stopping.is_set():
        news = await _read(context, task_id, after) if is_news else ([], False)
        page, has_ended = news or ([], False)
        for event in page:
            after = event.seq
            last_sign = monotonic()
            data = json.dumps({**event.data, "at": event.created_at.isoformat()})
            yield format_sse_event(data_str=data, event=event.type, id=str(event.seq))
        if has_ended and len(page) < PAGE:
            return
        if monotonic() - last_sign > PING_S:
            last_sign = monotonic()
            yield KEEPALIVE_COMMENT
        is_news = await _has_news(context, task_id, after) or news is None


async def _read(
    context: AppContext, task_id: str, after: int
) -> tuple[list[EventRead], bool] | None:
    """Return what `read_events` does; that a task which is gone has ended; None while the database is away."""
    try:
        return await run_in_threadpool(read_events, context.session_factory, task_id, after, PAGE)
    except DatabaseUnavailableError:
        return None
    except RegistryError:
        return [], True


async def _has_news(context: AppContext, task_id: str, after: int) -> bool:
    """Wait for the next look, and return whether there is something to read."""
    try:
        latest = await context.feed.next(task_id)
    except RegistryError:
        return False
    return latest is None or latest.status in ENDED or latest.seq > after
