"""The synchronous client: takes the steps of an exchange one after the other, and waits."""

import time
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from typing import IO, Self, TypeVar

import httpx

from service.remote import replies
from service.remote.calls import CHUNK_BYTES, Exchange, Pause, Request, Steps
from service.remote.connection import arriving, open_client, request_options
from service.remote.events import EventFeed
from service.remote.methods import Waiting
from service.remote.retries import Retries
from service.remote.task_handle import WaitingTask

ReplyT = TypeVar("ReplyT")


class Task(WaitingTask):
    """A task, and what can be done with it."""

    def __init__(self, client: "Filopodia", reply: replies.Task) -> None:
        super().__init__(reply)
        self._client: Filopodia = client

    def events(self, *, after: int = 0) -> Iterator[replies.TaskEvent]:
        """Yield its events as they happen, until it has ended; see `Filopodia.events`."""
        return self._client.events(self.id, after=after)


class Filopodia(Waiting[Task]):
    """Talks to one service with one key. `AsyncFilopodia` does the same for asyncio and trio.

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
        self._http = open_client(httpx.Client, self.url, key, timeout_s=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def events(self, task_id: str, *, after: int = 0) -> Iterator[replies.TaskEvent]:
        """Yield a task's events as they happen, until it has ended.

        A connection that is cut is made again, and goes on after the last event that arrived.

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
                with self._http.stream(request.method, request.path, **request.options) as response:
                    if response.is_success:
                        for data in response.iter_bytes():
                            yield from feed.take(data)
                        self._walk(feed.after_close())
                    else:
                        response.read()
                        self._walk(feed.after_refusal(response))
            except httpx.TransportError as error:
                self._walk(feed.after_cut(error))

    def handle(self, reply: replies.Task) -> Task:
        """Return a task, and what can be done with it."""
        return Task(self, reply)

    def ask(self, exchange: Exchange[ReplyT]) -> ReplyT:
        """Take all steps of an exchange and return its reply."""
        with exchange.body() if exchange.body else nullcontext() as body:
            return self._walk(exchange.steps(self._retries), body)

    def _walk(self, steps: Steps[ReplyT], body: IO[bytes] | None = None) -> ReplyT:
        go_on = partial(next, steps)
        while True:
            try:
                step = go_on()
            except StopIteration as end:
                reply: ReplyT = end.value
                return reply
            try:
                outcome = self._take(step, body)
            except httpx.TransportError as error:
                go_on = partial(steps.throw, error)
            else:
                go_on = partial(steps.send, outcome)

    def _take(self, step: Request | Pause, body: IO[bytes] | None) -> httpx.Response | None:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        options = request_options(step, body, self._timeout_s)
        content = None if body is None else iter(partial(body.read, CHUNK_BYTES), b"")
        with self._http.stream(step.method, step.path, content=content, **options) as response:
            if step.into is None or not response.is_success:
                response.read()
            else:
                with arriving(step.into) as file:
                    file.writelines(response.iter_bytes())
        return response
