"""What a client can be asked, listed once for both: the synchronous client replies, the asynchronous one is awaited."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

from service.remote import (
    bundle_calls,
    job_calls,
    learner_calls,
    operating_calls,
    prediction_calls,
    replies,
    review_calls,
    subscription_calls,
    task_calls,
)
from service.remote.calls import Exchange
from service.remote.prediction_parts import image_predictions

P = ParamSpec("P")
T = TypeVar("T")
ReplyT = TypeVar("ReplyT")
TaskT = TypeVar("TaskT")


class Asks(Generic[P, T]):
    """A method of both clients: takes what a function of `service.remote` takes, sends what that describes.

    Args:
        build: Describes what to ask.
        then: Makes what the method returns from the reply.
    """

    def __init__(self, build: Callable[P, Exchange[ReplyT]], then: Callable[[ReplyT], T]) -> None:
        self.build: Callable[P, Exchange[Any]] = build
        self._then: Callable[[Any], T] = then
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...

    @overload
    def __get__(self, client: "Waiting[Any]", owner: type) -> Callable[P, T]: ...

    @overload
    def __get__(
        self, client: "Awaited[Any]", owner: type
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...

    def __get__(self, client: Any, owner: type) -> Any:
        return self if client is None else bound(client, self.build, self._then)


class AsksTask(Generic[P]):
    """The same where the reply is a task: the method returns something that can be waited for.

    Args:
        build: Describes what to ask.
    """

    def __init__(self, build: Callable[P, Exchange[replies.Task]]) -> None:
        self.build = build
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...

    @overload
    def __get__(self, client: "Waiting[TaskT]", owner: type) -> Callable[P, TaskT]: ...

    @overload
    def __get__(
        self, client: "Awaited[TaskT]", owner: type
    ) -> Callable[P, Coroutine[Any, Any, TaskT]]: ...

    def __get__(self, client: Any, owner: type) -> Any:
        return self if client is None else bound(client, self.build, client.handle)


class AsksTasks(Generic[P]):
    """The same where the reply is a list of tasks.

    Args:
        build: Describes what to ask.
    """

    def __init__(self, build: Callable[P, Exchange[list[replies.Task]]]) -> None:
        self.build = build
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...

    @overload
    def __get__(self, client: "Waiting[TaskT]", owner: type) -> Callable[P, list[TaskT]]: ...

    @overload
    def __get__(
        self, client: "Awaited[TaskT]", owner: type
    ) -> Callable[P, Coroutine[Any, Any, list[TaskT]]]: ...

    def __get__(self, client: Any, owner: type) -> Any:
        if client is None:
            return self
        return bound(client, self.build, lambda found: [client.handle(reply) for reply in found])


def bound(
    client: "Waiting[Any] | Awaited[Any]",
    build: Callable[..., Exchange[Any]],
    then: Callable[[Any], Any],
) -> Callable[..., Any]:
    """Return a method of one client: a coroutine function if that is the asynchronous one."""
    if isinstance(client, Awaited):

        @wraps(build)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            return then(await client.ask(build(*args, **kwargs)))

        return awaited

    @wraps(build)
    def waiting(*args: Any, **kwargs: Any) -> Any:
        return then(client.ask(build(*args, **kwargs)))

    return waiting


def asks(build: Callable[P, Exchange[T]]) -> Asks[P, T]:
    """Return a method whose reply is handed on."""
    return Asks(build, lambda reply: reply)


class Methods:
    """All that can be asked of a service; an operation that is added here is one of both clients."""

    create_learner = asks(learner_calls.create_learner)
    learner = asks(learner_calls.learner)
    learners = asks(learner_calls.learners)
    update_learner = asks(learner_calls.update_learner)
    delete_learner = asks(learner_calls.delete_learner)
    classes = asks(learner_calls.classes)
    learned_class = asks(learner_calls.learned_class)
    update_class = asks(learner_calls.update_class)
    insights = asks(learner_calls.insights)
    drift = asks(learner_calls.drift)
    accuracy = asks(learner_calls.accuracy)
    accuracy_csv = asks(learner_calls.accuracy_csv)
    versions = asks(learner_calls.versions)
    version = asks(learner_calls.version)
    confusion = asks(learner_calls.confusion)
    confused_pairs = asks(learner_calls.confused_pairs)
    confused_images = asks(learner_calls.confused_images)
    live = asks(learner_calls.live)
    move_live = asks(learner_calls.move_live)
    strategies = asks(learner_calls.strategies)
    backbones = asks(learner_calls.backbones)

    learn_images = AsksTask(task_calls.learn_images)
    learn_folder = AsksTask(task_calls.learn_folder)
    learn_archive = AsksTask(task_calls.learn_archive)
    learn_feedback = AsksTask(task_calls.learn_feedback)
    task = AsksTask(task_calls.task)
    tasks = AsksTasks(task_calls.tasks)
    cancel_task = AsksTask(task_calls.cancel_task)
    retry_task = AsksTask(task_calls.retry_task)
    publish_task = AsksTask(task_calls.publish_task)
    unlearn = AsksTask(task_calls.unlearn)
    correct = AsksTask(task_calls.correct)
    undo_correction = AsksTask(task_calls.undo_correction)
    consolidate = AsksTask(task_calls.consolidate)
    consolidations = AsksTasks(task_calls.consolidations)
    preview_unlearning = asks(task_calls.preview_unlearning)
    follow_task = AsksTask(task_calls.follow_task)
    past_events = asks(task_calls.past_events)
    samples = asks(task_calls.samples)
    class_samples = asks(task_calls.class_samples)
    drop_samples = asks(task_calls.drop_samples)
    sample_image = asks(task_calls.sample_image)

    save_bundle = asks(bundle_calls.save_bundle)
    save_onnx = asks(bundle_calls.save_onnx)
    import_learner = asks(bundle_calls.import_learner)

    predict = asks(prediction_calls.predict)
    predict_all = Asks(prediction_calls.predict_all, image_predictions)
    predictions = asks(prediction_calls.predictions)
    prediction = asks(prediction_calls.prediction)
    prediction_image = asks(prediction_calls.prediction_image)
    give_feedback = asks(prediction_calls.give_feedback)
    withdraw_feedback = asks(prediction_calls.withdraw_feedback)
    feedback = asks(prediction_calls.feedback)
    why = asks(prediction_calls.why)
    why_image = asks(prediction_calls.why_image)
    heat = asks(prediction_calls.heat)
    heat_image = asks(prediction_calls.heat_image)
    review = asks(review_calls.review)
    settle_images = asks(review_calls.settle_images)
    undo_review = asks(review_calls.undo_review)

    predict_archive = asks(job_calls.predict_archive)
    predict_again = asks(job_calls.predict_again)
    prediction_job = asks(job_calls.prediction_job)
    prediction_jobs = asks(job_calls.prediction_jobs)
    follow_prediction_job = asks(job_calls.follow_prediction_job)
    cancel_prediction_job = asks(job_calls.cancel_prediction_job)
    delete_prediction_job = asks(job_calls.delete_prediction_job)
    job_results = asks(job_calls.job_results)
    save_job_results = asks(job_calls.save_job_results)
    job_image = asks(job_calls.job_image)

    create_key = asks(operating_calls.create_key)
    keys = asks(operating_calls.keys)
    limit_key = asks(operating_calls.limit_key)
    revoke_key = asks(operating_calls.revoke_key)
    subscribe = asks(subscription_calls.subscribe)
    subscriptions = asks(subscription_calls.subscriptions)
    subscription = asks(subscription_calls.subscription)
    update_subscription = asks(subscription_calls.update_subscription)
    unsubscribe = asks(subscription_calls.unsubscribe)
    send_test_message = asks(subscription_calls.send_test_message)
    messages = asks(subscription_calls.messages)
    send_message_again = asks(subscription_calls.send_message_again)
    create_login_link = asks(operating_calls.create_login_link)
    audit = asks(operating_calls.audit)
    workers = asks(operating_calls.workers)
    info = asks(operating_calls.info)
    liveness = asks(operating_calls.liveness)
    readiness = asks(operating_calls.readiness)
    health = asks(operating_calls.health)
    metrics = asks(operating_calls.metrics)
    problem_page = asks(operating_calls.problem_page)


class Waiting(Methods, ABC, Generic[TaskT]):
    """A client whose methods return what the service replied."""

    @abstractmethod
    def ask(self, exchange: Exchange[ReplyT]) -> ReplyT:
        """Take all steps of an exchange and return its reply."""

    @abstractmethod
    def handle(self, reply: replies.Task) -> TaskT:
        """Return a task, and what can be done with it."""


class Awaited(Methods, ABC, Generic[TaskT]):
    """A client whose methods are awaited."""

    @abstractmethod
    async def ask(self, exchange: Exchange[ReplyT]) -> ReplyT:
        """Take all steps of an exchange and return its reply."""

    @abstractmethod
    def handle(self, reply: replies.Task) -> TaskT:
        """Return a task, and what can be done with it."""
