"""The asynchronous client, for asyncio and trio: `service.remote.synchronous` with `await`."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager
from functools import partial, wraps
from typing import IO, Any, Generic, ParamSpec, Self, TypeVar, overload

import httpx
from anyio import sleep, to_thread

from service.remote import (
    bundle_calls,
    learner_calls,
    operating_calls,
    prediction_calls,
    replies,
    task_calls,
)
from service.remote.calls import CHUNK_BYTES, Body, Exchange, Pause, Request, Steps
from service.remote.connection import arriving, open_client, request_options
from service.remote.events import EventFeed
from service.remote.prediction_parts import image_predictions
from service.remote.retries import Retries
from service.remote.task_handle import TaskHandle

P = ParamSpec("P")
T = TypeVar("T")
ReplyT = TypeVar("ReplyT")


class Awaits(Generic[P, T]):
    """A method of the client: takes what a function of `service.remote` takes, sends what that describes.

    Args:
        build: Describes what to ask.
        then: Makes what the method returns from the reply.
    """

    def __init__(
        self,
        build: Callable[P, Exchange[ReplyT]],
        then: Callable[["AsyncFilopodia", ReplyT], T],
    ) -> None:
        self.build: Callable[P, Exchange[Any]] = build
        self._then: Callable[[AsyncFilopodia, Any], T] = then
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...

    @overload
    def __get__(
        self, client: "AsyncFilopodia", owner: type
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...

    def __get__(
        self, client: "AsyncFilopodia | None", owner: type
    ) -> Self | Callable[P, Coroutine[Any, Any, T]]:
        if client is None:
            return self

        @wraps(self.build)
        async def method(*args: P.args, **kwargs: P.kwargs) -> T:
            return self._then(client, await client.ask(self.build(*args, **kwargs)))

        return method


def awaits(build: Callable[P, Exchange[T]]) -> Awaits[P, T]:
    """Return a method whose reply is handed on."""
    return Awaits(build, lambda _, reply: reply)


def awaits_task(build: Callable[P, Exchange[replies.Task]]) -> Awaits[P, "AsyncTask"]:
    """Return a method that replies with a task."""
    return Awaits(build, AsyncTask)


def awaits_tasks(
    build: Callable[P, Exchange[list[replies.Task]]],
) -> Awaits[P, "list[AsyncTask]"]:
    """Return a method that replies with tasks."""
    return Awaits(build, lambda client, found: [AsyncTask(client, reply) for reply in found])


class AsyncTask(TaskHandle):
    """A task, and what can be done with it."""

    def __init__(self, client: "AsyncFilopodia", reply: replies.Task) -> None:
        super().__init__(reply)
        self._client = client

    async def wait(
        self,
        timeout_s: float | None = None,
        *,
        on_progress: Callable[[replies.Task], None] | None = None,
    ) -> Self:
        """Wait until it has ended, however it ended; outlives a restart of the service.

        Args:
            timeout_s: Longest wait; None for as long as it takes.
            on_progress: Told about the task about twice a second.

        Raises:
            WaitTimeoutError: If it has not ended by then.
            UnreachableError: If the service stays away.
        """
        following = task_calls.follow_task(self.id, on_progress, timeout_s=timeout_s)
        self.reply = await self._client.ask(following)
        return self

    def events(self, *, after: int = 0) -> AsyncIterator[replies.TaskEvent]:
        """Yield its events as they happen, until it has ended; see `AsyncFilopodia.events`."""
        return self._client.events(self.id, after=after)

    async def refresh(self) -> Self:
        """Read it again."""
        self.reply = await self._client.ask(task_calls.task(self.id))
        return self

    async def cancel(self) -> Self:
        """Ask for it to be stopped."""
        self.reply = await self._client.ask(task_calls.cancel_task(self.id))
        return self

    async def retry(self) -> Self:
        """Queue it again after it failed or was cancelled."""
        self.reply = await self._client.ask(task_calls.retry_task(self.id))
        return self

    async def publish(self) -> Self:
        """Publish it after all, if it is held."""
        self.reply = await self._client.ask(task_calls.publish_task(self.id))
        return self


class AsyncFilopodia:
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

    create_learner = awaits(learner_calls.create_learner)
    learner = awaits(learner_calls.learner)
    learners = awaits(learner_calls.learners)
    update_learner = awaits(learner_calls.update_learner)
    delete_learner = awaits(learner_calls.delete_learner)
    classes = awaits(learner_calls.classes)
    learned_class = awaits(learner_calls.learned_class)
    update_class = awaits(learner_calls.update_class)
    accuracy = awaits(learner_calls.accuracy)
    accuracy_csv = awaits(learner_calls.accuracy_csv)
    versions = awaits(learner_calls.versions)
    version = awaits(learner_calls.version)
    confusion = awaits(learner_calls.confusion)
    live = awaits(learner_calls.live)
    move_live = awaits(learner_calls.move_live)
    strategies = awaits(learner_calls.strategies)
    backbones = awaits(learner_calls.backbones)

    learn_images = awaits_task(task_calls.learn_images)
    learn_folder = awaits_task(task_calls.learn_folder)
    learn_archive = awaits_task(task_calls.learn_archive)
    learn_feedback = awaits_task(task_calls.learn_feedback)
    task = awaits_task(task_calls.task)
    tasks = awaits_tasks(task_calls.tasks)
    cancel_task = awaits_task(task_calls.cancel_task)
    retry_task = awaits_task(task_calls.retry_task)
    publish_task = awaits_task(task_calls.publish_task)
    unlearn = awaits_task(task_calls.unlearn)
    preview_unlearning = awaits(task_calls.preview_unlearning)
    follow_task = awaits_task(task_calls.follow_task)
    past_events = awaits(task_calls.past_events)
    samples = awaits(task_calls.samples)
    drop_samples = awaits(task_calls.drop_samples)
    sample_image = awaits(task_calls.sample_image)

    save_bundle = awaits(bundle_calls.save_bundle)
    import_learner = awaits(bundle_calls.import_learner)

    predict = awaits(prediction_calls.predict)
    predict_all = Awaits(prediction_calls.predict_all, lambda _, parts: image_predictions(parts))
    predictions = awaits(prediction_calls.predictions)
    prediction = awaits(prediction_calls.prediction)
    prediction_image = awaits(prediction_calls.prediction_image)
    give_feedback = awaits(prediction_calls.give_feedback)
    withdraw_feedback = awaits(prediction_calls.withdraw_feedback)
    feedback = awaits(prediction_calls.feedback)

    create_key = awaits(operating_calls.create_key)
    keys = awaits(operating_calls.keys)
    revoke_key = awaits(operating_calls.revoke_key)
    create_login_link = awaits(operating_calls.create_login_link)
    audit = awaits(operating_calls.audit)
    workers = awaits(operating_calls.workers)
    info = awaits(operating_calls.info)
    liveness = awaits(operating_calls.liveness)
    readiness = awaits(operating_calls.readiness)
    metrics = awaits(operating_calls.metrics)
    problem_page = awaits(operating_calls.problem_page)

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
