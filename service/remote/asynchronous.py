"""The asynchronous client, for asyncio and trio: `service.remote.synchronous` with `await`."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import IO, Self, TypeVar

import httpx
from anyio import sleep, to_thread

from service.remote import replies
from service.remote.calls import CHUNK_BYTES, Body, Exchange, Pause, Request, Steps
from service.remote.connection import arriving, open_client, request_options
from service.remote.events import EventFeed
from service.remote.methods import Awaited
from service.remote.retries import Retries
from service.remote.task_handle import AwaitedTask

ReplyT = TypeVar("ReplyT")


class AsyncTask(AwaitedTask):
    """A task, and what can be done with it."""

    def __init__(self, client: "AsyncFilopodia", reply: replies.Task) -> None:
        super().__init__(reply)
        self._client: AsyncFilopodia = client

    def events(self, *, after: int = 0) -> AsyncIterator[replies.TaskEvent]:
        """Yield its events as they happen, until it has ended; see `AsyncFilopodia.events`."""
        return self._client.events(self.id, after=after)


class AsyncFilopodia(Awaited[AsyncTask]):
    """Talks to one service with one key, from asyncio or trio. `Filopodia` does the same without `await`.

    Every method raises `ProblemError` if the service says no, and `UnreachableError` if it does not answer.

    Args:
        url: Where the service is, such as `http://127.0.0.1:8000`.
        key: An API key, `fil_...`.
        timeout_s: Longest silence of the service that is waited for; long polls get their own.
        retries: When and how often a request is sent again.
    """

    def __init__(
        self, url: str, key: str, *, timeout_s: float = 120.0, retries: Retries | None = None
    ) -> None:
        self.url = url.strip().rstrip("/")
        self._retries = retries or Retries()
        self._timeout_s = timeout_s
        self._http = open_client(httpx.AsyncClient, self.url, key, timeout_s=timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def events(self, task_id: str, *, after: int = 0) -> AsyncIterator[replies.TaskEvent]:
        """Yield a task's events as they happen, until it has ended.

        A connection that is cut is made again, and goes on after the last event that arrived. Who leaves the loop early
        closes the connection with `contextlib.aclosing`.

        Args:
            task_id: The task.
            after: `seq` of the last event that is known already.

        Raises:
            UnreachableError: If the service stays away.
        """
        feed = EventFeed(task_id, after, self._retries)
        while feed.is_open:
            request = feed.call().request()
            try:
                async with self._http.stream(
                    request.method, request.path, **request.options
                ) as response:
                    if response.is_success:
                        async for data in response.aiter_bytes():
                            for event in feed.take(data):
                                yield event
                        await self._walk(feed.after_close())
                    else:
                        await response.aread()
                        await self._walk(feed.after_refusal(response))
            except httpx.TransportError as error:
                await self._walk(feed.after_cut(error))

    def handle(self, reply: replies.Task) -> AsyncTask:
        """Return a task, and what can be done with it."""
        return AsyncTask(self, reply)

    async def ask(self, exchange: Exchange[ReplyT]) -> ReplyT:
        """Take all steps of an exchange and return its reply."""
        async with _opened(exchange.body) as body:
            return await self._walk(exchange.steps(self._retries), body)

    async def _walk(self, steps: Steps[ReplyT], body: IO[bytes] | None = None) -> ReplyT:
        go_on = partial(next, steps)
        while True:
            try:
                step = go_on()
            except StopIteration as end:
                reply: ReplyT = end.value
                return reply
            try:
                outcome = await self._take(step, body)
            except httpx.TransportError as error:
                go_on = partial(steps.throw, error)
            else:
                go_on = partial(steps.send, outcome)

    async def _take(self, step: Request | Pause, body: IO[bytes] | None) -> httpx.Response | None:
        if isinstance(step, Pause):
            await sleep(step.seconds)
            return None
        options = request_options(step, body, self._timeout_s)
        content = None if body is None else _chunks(body)
        async with self._http.stream(
            step.method, step.path, content=content, **options
        ) as response:
            if step.into is None or not response.is_success:
                await response.aread()
            else:
                with arriving(step.into) as file:
                    async for data in response.aiter_bytes():
                        await to_thread.run_sync(file.write, data)
        return response


@asynccontextmanager
async def _opened(body: Body | None) -> AsyncIterator[IO[bytes] | None]:
    """Open a long body without holding up the event loop: it may have to be packed first."""
    if body is None:
        yield None
        return
    with ExitStack() as stack:
        yield await to_thread.run_sync(stack.enter_context, body())


async def _chunks(body: IO[bytes]) -> AsyncIterator[bytes]:
    while chunk := await to_thread.run_sync(body.read, CHUNK_BYTES):
        yield chunk
