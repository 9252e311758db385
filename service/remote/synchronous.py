"""The synchronous client: takes the steps of an exchange one after the other, and waits."""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial, wraps
from typing import IO, Any, Generic, ParamSpec, Self, TypeVar, overload

import httpx

from service.remote import (
    bundle_calls,
    learner_calls,
    operating_calls,
    prediction_calls,
    replies,
    task_calls,
)
from service.remote.calls import CHUNK_BYTES, Exchange, Pause, Request, Steps
from service.remote.connection import arriving, open_client, request_options
from service.remote.events import EventFeed
from service.remote.prediction_parts import image_predictions
from service.remote.retries import Retries
from service.remote.task_handle import TaskHandle

P = ParamSpec("P")
T = TypeVar("T")
ReplyT = TypeVar("ReplyT")


class Asks(Generic[P, T]):
    """A method of the client: takes what a function of `service.remote` takes, sends what that describes.

    Args:
        build: Describes what to ask.
        then: Makes what the method returns from the reply.
    """

    def __init__(
        self,
        build: Callable[P, Exchange[ReplyT]],
        then: Callable[["Filopodia", ReplyT], T],
    ) -> None:
        self.build: Callable[P, Exchange[Any]] = build
        self._then: Callable[[Filopodia, Any], T] = then
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...

    @overload
    def __get__(self, client: "Filopodia", owner: type) -> Callable[P, T]: ...

    def __get__(self, client: "Filopodia | None", owner: type) -> Self | Callable[P, T]:
        if client is None:
            return self

        @wraps(self.build)
        def method(*args: P.args, **kwargs: P.kwargs) -> T:
            return self._then(client, client.ask(self.build(*args, **kwargs)))

        return method


def asks(build: Callable[P, Exchange[T]]) -> Asks[P, T]:
    """Return a method whose reply is handed on."""
    return Asks(build, lambda _, reply: reply)


def asks_task(build: Callable[P, Exchange[replies.Task]]) -> Asks[P, "Task"]:
    """Return a method that replies with a task."""
    return Asks(build, Task)


def asks_tasks(build: Callable[P, Exchange[list[replies.Task]]]) -> Asks[P, "list[Task]"]:
    """Return a method that replies with tasks."""
    return Asks(build, lambda client, found: [Task(client, reply) for reply in found])


class Task(TaskHandle):
    """A task, and what can be done with it."""

    def __init__(self, client: "Filopodia", reply: replies.Task) -> None:
        super().__init__(reply)
        self._client = client

    def wait(
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
        self.reply = self._client.ask(following)
        return self

    def events(self, *, after: int = 0) -> Iterator[replies.TaskEvent]:
        """Yield its events as they happen, until it has ended; see `Filopodia.events`."""
        return self._client.events(self.id, after=after)

    def refresh(self) -> Self:
        """Read it again."""
        self.reply = self._client.ask(task_calls.task(self.id))
        return self

    def cancel(self) -> Self:
        """Ask for it to be stopped."""
        self.reply = self._client.ask(task_calls.cancel_task(self.id))
        return self

    def retry(self) -> Self:
        """Queue it again after it failed or was cancelled."""
        self.reply = self._client.ask(task_calls.retry_task(self.id))
        return self

    def publish(self) -> Self:
        """Publish it after all, if it is held."""
        self.reply = self._client.ask(task_calls.publish_task(self.id))
        return self


class Filopodia:
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

    create_learner = asks(learner_calls.create_learner)
    learner = asks(learner_calls.learner)
    learners = asks(learner_calls.learners)
    update_learner = asks(learner_calls.update_learner)
    delete_learner = asks(learner_calls.delete_learner)
    classes = asks(learner_calls.classes)
    learned_class = asks(learner_calls.learned_class)
    update_class = asks(learner_calls.update_class)
    accuracy = asks(learner_calls.accuracy)
    accuracy_csv = asks(learner_calls.accuracy_csv)
    versions = asks(learner_calls.versions)
    version = asks(learner_calls.version)
    confusion = asks(learner_calls.confusion)
    live = asks(learner_calls.live)
    move_live = asks(learner_calls.move_live)
    strategies = asks(learner_calls.strategies)
    backbones = asks(learner_calls.backbones)

    learn_images = asks_task(task_calls.learn_images)
    learn_folder = asks_task(task_calls.learn_folder)
    learn_archive = asks_task(task_calls.learn_archive)
    learn_feedback = asks_task(task_calls.learn_feedback)
    task = asks_task(task_calls.task)
    tasks = asks_tasks(task_calls.tasks)
    cancel_task = asks_task(task_calls.cancel_task)
    retry_task = asks_task(task_calls.retry_task)
    publish_task = asks_task(task_calls.publish_task)
    unlearn = asks_task(task_calls.unlearn)
    preview_unlearning = asks(task_calls.preview_unlearning)
    follow_task = asks_task(task_calls.follow_task)
    past_events = asks(task_calls.past_events)
    samples = asks(task_calls.samples)
    drop_samples = asks(task_calls.drop_samples)
    sample_image = asks(task_calls.sample_image)

    save_bundle = asks(bundle_calls.save_bundle)
    import_learner = asks(bundle_calls.import_learner)

    predict = asks(prediction_calls.predict)
    predict_all = Asks(prediction_calls.predict_all, lambda _, parts: image_predictions(parts))
    predictions = asks(prediction_calls.predictions)
    prediction = asks(prediction_calls.prediction)
    prediction_image = asks(prediction_calls.prediction_image)
    give_feedback = asks(prediction_calls.give_feedback)
    withdraw_feedback = asks(prediction_calls.withdraw_feedback)
    feedback = asks(prediction_calls.feedback)

    create_key = asks(operating_calls.create_key)
    keys = asks(operating_calls.keys)
    revoke_key = asks(operating_calls.revoke_key)
    create_login_link = asks(operating_calls.create_login_link)
    audit = asks(operating_calls.audit)
    workers = asks(operating_calls.workers)
    info = asks(operating_calls.info)
    liveness = asks(operating_calls.liveness)
    readiness = asks(operating_calls.readiness)
    metrics = asks(operating_calls.metrics)
    problem_page = asks(operating_calls.problem_page)

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
