"""Work that is given up when whoever asked for it has gone."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

from service.problems import Problem

ResultT = TypeVar("ResultT")


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Return what the work returns; cancel it as soon as the client has closed the connection.

    Call it when the body has been read: what is left of one would be thrown away. The work is done by the task that
    calls, and only the watch for the client by another one: each task costs the event loop as much as a small answer.

    Raises:
        Problem: `client-closed`, which nobody reads but the metrics.
    """
    working = asyncio.current_task()
    assert working is not None
    is_over = has_left = False

    def leave(watch: asyncio.Future[None]) -> None:
        nonlocal has_left
        if not (watch.cancelled() or is_over):
            watch.exception()  # of whatever kind: nobody is there
            has_left = True
            working.cancel()

    leaving = asyncio.ensure_future(_gone(request))
    leaving.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if has_left and not working.uncancel():
            raise Problem("client-closed") from None
        raise
    finally:
        is_over = True
        leaving.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
