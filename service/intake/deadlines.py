"""`MAX_WAIT_S` as a promise: what was admitted is answered in that time and the time that its own work takes."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from time import monotonic
from typing import TypeVar

ResultT = TypeVar("ResultT")


class Deadline:
    """Until when a request waits for others."""

    def __init__(self, max_wait_s: float) -> None:
        self._at = monotonic() + max_wait_s

    def allow(self, own_s: float) -> None:
        """Add what the request's own work takes, in seconds."""
        self._at += own_s

    async def gather(self, futures: Sequence[Future[ResultT]]) -> list[ResultT]:
        """Wait for all; those that nobody waits for any more are cancelled.

        Raises:
            TimeoutError: If they are not done in time.
        """
        if all(future.done() for future in futures):
            return [future.result() for future in futures]
        async with asyncio.timeout(max(0.0, self._at - monotonic())):
            if len(futures) == 1:  # the usual case, without a task for it
                return [await asyncio.wrap_future(futures[0])]
            return await asyncio.gather(*(asyncio.wrap_future(future) for future in futures))
