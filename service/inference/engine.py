"""The inference engine: one thread that owns the device, fed with micro-batches.

The event loop runs no network and makes no step of PyTorch's: each would let go of the interpreter, and wait for it.
Requests put decoded images into a queue; the engine takes those that want the same snapshot, up to `max_batch` images,
scores them in one go and answers each.
"""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.strategies.values import Prediction
from registry.loops import SteadyThread
from service.fairness import FairQueue
from service.inference.batch_cost import BatchCosts
from service.inference.snapshots import Snapshot
from service.intake.deadlines import Deadline
from service.metrics import Metrics
from service.problems import Problem
from service.settings import ServiceSettings

log = structlog.get_logger(__name__)

T = TypeVar("T")
COLD_BATCHES = 16
"""Full batches that may wait while the cost of an image is not known yet."""


@dataclass(frozen=True)
class Scores:
    """What the engine says about some images of one request. Shapes: B images, K classes, T tasks."""

    probabilities: NDArray[np.float32]
    """`(B, K)`"""
    novelty: NDArray[np.float32]
    """`(B,)`"""
    currents: NDArray[np.float32]
    """`(B, T)`"""
    thresholds: NDArray[np.float32]
    """`(T,)`"""
    functional: NDArray[np.bool_]
    """`(B, T)`"""
    passes: NDArray[np.int64]
    """`(B,)`"""
    unrouted: NDArray[np.float32] | None
    """Probabilities had no synapse fired, `(B, K)`; None where that is not known."""
    queue_s: float
    infer_s: float
    batch_images: int
    features: NDArray[np.float32] | None = None
    """What the answers were read from, `(B, W)`; None where the strategy does not read features."""
    features_of: str = ""
    """What made them."""


@dataclass(frozen=True)
class _Item:
    snapshot: Snapshot
    images: Sequence[Tensor]
    future: Future[Any]
    queued_at: float
    work: Callable[[], Any] | None = None
    """What is asked instead of predicting the images; then nothing shares its turn."""


class InferenceEngine:
    """Owns the device. `start` it once, `submit` from any thread, `stop` it when the service ends."""

    def __init__(self, settings: ServiceSettings, metrics: Metrics) -> None:
        self._max_batch = settings.max_batch
        self._batch_wait_s = settings.batch_wait_ms / 1000
        self._max_wait_s = settings.max_wait_s
        self._metrics = metrics
        self._items: FairQueue[_Item] = FairQueue()
        self._wakeup = Condition()
        self._queued_images = 0
        self._running_s = 0.0
        """What is being scored takes, about."""
        self._arriving = 0
        cold_image_s = settings.max_wait_s / (COLD_BATCHES * settings.max_batch)
        self._costs = BatchCosts(max_batch=settings.max_batch, cold_image_s=cold_image_s)
        self._is_stopping = False
        self.thread = SteadyThread("inference", self._run, first_pause_s=0.1, most_pause_s=1.0)

    def start(self) -> None:
        """Start the owner thread."""
        self.thread.start()

    def stop(self) -> None:
        """Answer what waits, then end the thread."""
        with self._wakeup:
            self._is_stopping = True
            self._wakeup.notify_all()
        if self.thread.is_alive():
            self.thread.join(timeout=30)

    @property
    def is_alive(self) -> bool:
        """Whether requests will be answered."""
        return self.thread.is_alive() and not self._is_stopping

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """Announce a request that is being decoded, so that a batch waits a moment for it."""
        with self._wakeup:
            self._arriving += 1
        try:
            yield
        finally:
            with self._wakeup:
                self._arriving -= 1
                self._wakeup.notify_all()

    def images_within(self, snapshot: Snapshot, seconds: float) -> int:
        """Return how many images are scored in a time, about: at least one, at most a batch."""
        return self._costs.images_within(snapshot.backbone.name, seconds)

    def require_capacity(self, snapshot: Snapshot, n_images: int, owner: Hashable = None) -> None:
        """Refuse work that could not be done in time, by what would be served before its owner's turn comes.

        Raises:
            Problem: `overloaded`, with `Retry-After`.
        """
        own_s = self._costs.in_turn(snapshot.backbone.name, n_images)
        with self._wakeup:
            estimate = self._items.ahead(owner, own_s) + self._running_s
        if not self.is_alive or estimate > self._max_wait_s:
            raise self._overloaded(estimate - self._max_wait_s / 2)

    def _overloaded(self, retry_s: float = 0.0) -> Problem:
        self._metrics.overloaded.inc()
        return Problem("overloaded", headers={"Retry-After": str(max(1, math.ceil(retry_s)))})

    def submit(
        self, snapshot: Snapshot, images: Sequence[Tensor], owner: Hashable = None
    ) -> list[Future[Scores]]:
        """Queue images, uint8 `(3, S, S)` each, and return one future for each part of at most `max_batch`.

        They are put together by the engine: the event loop, which may be who asks, has none of PyTorch's steps to make.

        What waits is scored in the order of `FairQueue`: an owner's hundreds of images do not delay another's one.

        Raises:
            Problem: `overloaded`, if the estimated wait is past the bound.
        """
        self.require_capacity(snapshot, len(images), owner)
        now = perf_counter()
        starts = range(0, len(images), self._max_batch)
        parts = [images[start : start + self._max_batch] for start in starts]
        items = [_Item(snapshot, part, Future(), now) for part in parts]
        with self._wakeup:
            for item in items:
                cost = self._costs.in_turn(snapshot.backbone.name, len(item.images))
                self._items.put(owner, cost, item)
            self._queued_images += len(images)
            self._wakeup.notify_all()
        return [item.future for item in items]

    def examine(
        self, snapshot: Snapshot, work: Callable[[], T], n_passes: int, owner: Hashable = None
    ) -> Future[T]:
        """Queue something else that needs the device, in turns as predictions are.

        Args:
            snapshot: What it asks.
            work: Does it, without gradients.
            n_passes: What it costs, as so many images.
            owner: Whose turn it takes.

        Raises:
            Problem: `overloaded`, if the estimated wait is past the bound.
        """
        self.require_capacity(snapshot, n_passes, owner)
        item = _Item(snapshot, (), Future(), perf_counter(), work)
        with self._wakeup:
            self._items.put(owner, self._costs.in_turn(snapshot.backbone.name, n_passes), item)
            self._wakeup.notify_all()
        return item.future

    async def answers(
        self, snapshot: Snapshot, futures: Sequence[Future[Scores]], deadline: Deadline
    ) -> list[Scores]:
        """Wait for what `submit` has returned.

        Raises:
            Problem: `overloaded`, if the deadline and the time that scoring the images takes have passed.
        """
        deadline.allow(len(futures) * self._costs.seconds(snapshot.backbone.name, self._max_batch))
        try:
            return await deadline.gather(futures)
        except TimeoutError as error:
            raise self._overloaded() from error

    async def answer(
        self, snapshot: Snapshot, future: Future[T], deadline: Deadline, n_passes: int
    ) -> T:
        """Wait for what `examine` has returned.

        Raises:
            Problem: `overloaded`, if the deadline and the time that so many passes take have passed.
        """
        deadline.allow(self._costs.seconds(snapshot.backbone.name, n_passes))
        try:
            [found] = await deadline.gather([future])
        except TimeoutError as error:
            raise self._overloaded() from error
        return found

    def _run(self) -> None:
        # What an error broke off runs no more.
        self._running_s = 0.0
        while True:
            batch = self._next_batch()
            if batch is None:
                return
            live = [item for item in batch if item.future.set_running_or_notify_cancel()]
            if live:
                self._score(live)
            with self._wakeup:
                self._running_s = 0.0

    def _next_batch(self) -> list[_Item] | None:
        with self._wakeup:
            while not self._items:
                if self._is_stopping:
                    return None
                self._wakeup.wait()
            self._wait_to_fill_batch()
            batch = self._take_alike()
            images = sum(len(item.images) for item in batch)
            self._queued_images -= images
            self._running_s = self._costs.seconds(batch[0].snapshot.backbone.name, images)
            return batch

    def _wait_to_fill_batch(self) -> None:
        """Wait for requests that are announced, if the batch has room for them."""
        deadline = perf_counter() + self._batch_wait_s
        while self._arriving and self._queued_images < self._max_batch and not self._is_stopping:
            remaining = deadline - perf_counter()
            if remaining <= 0:
                return
            self._wakeup.wait(remaining)

    def _take_alike(self) -> list[_Item]:
        """Remove the next item and those that want the same snapshot and still fit."""
        first = self._items.take()
        if first.work is not None:
            return [first]
        room = self._max_batch - len(first.images)

        def fits(item: _Item) -> bool:
            nonlocal room
            is_other = item.work is not None or item.snapshot is not first.snapshot
            if is_other or len(item.images) > room:
                return False
            room -= len(item.images)
            return True

        return [first, *self._items.take_fitting(fits)]

    def _score(self, batch: list[_Item]) -> None:
        """Answer a batch. Whatever goes wrong belongs to its requests; the thread goes on."""
        try:
            if (work := batch[0].work) is not None:
                with torch.inference_mode():
                    batch[0].future.set_result(work())
                return
            for item, scores in zip(batch, self._predict(batch), strict=True):
                item.future.set_result(scores)
        except Exception as error:
            log.exception("inference_failed", learner=batch[0].snapshot.learner)
            for item in batch:
                if not item.future.done():
                    item.future.set_exception(error)

    def _predict(self, batch: list[_Item]) -> list[Scores]:
        started = perf_counter()
        images = torch.stack([image for item in batch for image in item.images])
        with torch.inference_mode():
            prediction = batch[0].snapshot.strategy.predict(images)
        columns = _to_numpy(prediction)
        seconds = perf_counter() - started
        self._observe(batch, len(images), started, seconds)
        thresholds = columns.pop("thresholds")
        ends = np.cumsum([len(item.images) for item in batch])[:-1]
        parts = {name: np.split(column, ends) for name, column in columns.items()}
        unrouted = parts.pop("unrouted", [None] * len(batch))
        features = parts.pop("features", [None] * len(batch))
        features_of = batch[0].snapshot.features_of if "features" in columns else ""
        return [
            Scores(
                thresholds=thresholds,
                **{name: split[i] for name, split in parts.items()},
                unrouted=unrouted[i],
                queue_s=started - item.queued_at,
                infer_s=seconds,
                batch_images=len(images),
                features=features[i],
                features_of=features_of,
            )
            for i, item in enumerate(batch)
        ]

    def _observe(self, batch: list[_Item], n_images: int, started: float, seconds: float) -> None:
        self._costs.observe(batch[0].snapshot.backbone.name, n_images, seconds)
        self._metrics.infer_seconds.observe(seconds)
        self._metrics.batch_images.observe(n_images)
        for item in batch:
            self._metrics.queue_seconds.observe(started - item.queued_at)


_COLUMNS = (
    "probabilities",
    "novelty",
    "currents",
    "thresholds",
    "functional",
    "passes",
    "unrouted",
    "features",
)


def _to_numpy(prediction: Prediction) -> dict[str, NDArray[Any]]:
    columns = {name: getattr(prediction, name) for name in _COLUMNS}
    return {name: x.detach().cpu().numpy() for name, x in columns.items() if x is not None}
