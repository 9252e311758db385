"""Storing answered predictions behind the requests' backs: a bounded queue and one thread.

An answer never waits for the database. When the queue is full, the newest answers are counted and dropped. Images are
kept with their answers as far as there is room for their pixels, in memory and on the disk; where there is none, the
answer is stored without.
"""

import os
import queue
import time
import weakref
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from threading import Condition, Event, Lock, get_native_id
from types import MappingProxyType

import structlog

from registry import telling_answers
from registry.blobs.store import BlobStore
from registry.errors import DatabaseUnavailableError, RegistryError
from registry.loops import SteadyThread
from registry.postgres.database import Sessions, StatementError
from registry.predictions import NewImage, NewPrediction, add_images, add_predictions
from registry.reviews import Look, NewReview
from service.inference.answers import Features
from service.intake.images import DecodedImage
from service.intake.small import make_small
from service.metrics import Metrics
from service.settings import ServiceSettings

log = structlog.get_logger(__name__)

BATCH = 200
BATCH_IMAGES = 64
"""Images after which a batch is written: encoding them takes about a second, and the answers wait for it."""
GATHER_S = 0.1
"""How long an answer waits for others to be stored with it, unless somebody wants to read it; chosen, untested."""
RETRY_S = 1.0
NICENESS = 10
NO_IMAGES: Mapping[int, DecodedImage] = MappingProxyType({})
NO_FEATURES: Mapping[int, Features] = MappingProxyType({})


class PixelBudget:
    """A bound on the pixels that are held until they are encoded.

    What was admitted counts until its array is freed, whatever became of the request that brought it.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held_bytes = 0
        self._lock = Lock()
        # Appended to when an array is freed: in any thread, at any moment, also while this one holds the lock.
        self._freed: deque[int] = deque()

    def admit(self, image: DecodedImage) -> bool:
        """Count an image in if there is room for it."""
        size_bytes = image.pixels.nbytes
        with self._lock:
            while self._freed:
                self._held_bytes -= self._freed.popleft()
            if self._held_bytes + size_bytes > self._most_bytes:
                return False
            self._held_bytes += size_bytes
        weakref.finalize(image.pixels, self._freed.append, size_bytes).atexit = False
        return True


@dataclass(frozen=True)
class _Answered:
    prediction: NewPrediction
    images: dict[int, DecodedImage]
    features: Mapping[int, Features]


class PredictionWriter:
    """Writes predictions in the order they were answered."""

    def __init__(
        self,
        session_factory: Sessions,
        blobs: BlobStore,
        metrics: Metrics,
        settings: ServiceSettings,
    ) -> None:
        self._sessions = session_factory
        self._blobs = blobs
        self._metrics = metrics
        self._floor_bytes = settings.min_free_bytes
        self._keeps_images = settings.keep_prediction_images
        self._budget = PixelBudget(settings.prediction_image_backlog_bytes)
        self._queue: queue.Queue[_Answered | None] = queue.Queue(settings.prediction_backlog)
        self._written = Condition()
        self._n_put = self._n_written = 0
        self._is_awaited = Event()
        self.n_dropped = 0
        """Answers that were not stored since the service was started."""
        self.thread = SteadyThread("prediction-writer", self._run, most_pause_s=RETRY_S)
        self._is_stopping = False

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def stop(self) -> None:
        """Write what waits, for a few seconds at most, then end the thread."""
        self._is_stopping = True
        self.wait_written(5.0)
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            return
        self.thread.join(timeout=5)

    def keeps(self, image: DecodedImage) -> bool:
        """Return whether an image that is about to be predicted can be kept; it is counted in then.

        One that shows nothing is not kept: nothing could be learned from it.
        """
        if not self._keeps_images or image.shows_nothing:
            return False
        is_kept = self._budget.admit(image)
        if not is_kept:
            self._metrics.images_not_kept.inc()
        return is_kept

    def put(
        self,
        prediction: NewPrediction,
        images: Mapping[int, DecodedImage] = NO_IMAGES,
        features: Mapping[int, Features] = NO_FEATURES,
    ) -> None:
        """Queue a prediction to be stored; never blocks.

        Args:
            prediction: The answer.
            images: Images that `keeps` admitted, by the index of their result.
            features: What the answers were read from, likewise.
        """
        kept = {index: features[index] for index in images if index in features}
        try:
            with self._written:
                self._queue.put_nowait(_Answered(prediction, dict(images), kept))
                self._n_put += 1
        except queue.Full:
            self._drop(1)

    def wait_written(self, timeout_s: float) -> None:
        """Wait until everything put so far is stored, or the time is over: a reader sees its own writes."""
        self._is_awaited.set()
        with self._written:
            n_put = self._n_put
            self._written.wait_for(lambda: self._n_written >= n_put, timeout_s)

    def _run(self) -> None:
        _step_back()
        while True:
            batch, is_end = self._take()
            if batch:
                self._write_whole(batch)
                batch.clear()
            if is_end:
                return

    def _write_whole(self, batch: list[_Answered]) -> None:
        """Write a batch; one that fails is dropped, and counted, so that nobody waits for it."""
        try:
            self._write(batch, self._keep_images(batch))
        except BaseException:
            self._drop(len(batch))
            raise
        finally:
            with self._written:
                self._n_written += len(batch)
                self._written.notify_all()

    def _take(self) -> tuple[list[_Answered], bool]:
        batch: list[_Answered] = []
        n_images, item = 0, self._queue.get()
        if item is not None and self._queue.qsize() < BATCH_IMAGES:
            self._is_awaited.wait(GATHER_S)
        self._is_awaited.clear()  # who waits from now on has put before into the queue
        while item is not None:
            batch.append(item)
            n_images += len(item.images)
            if len(batch) == BATCH or n_images >= BATCH_IMAGES:
                return batch, False
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _keep_images(self, batch: list[_Answered]) -> list[NewImage]:
        """Put the images of a batch into the blob store and let go of their pixels; return what to name them by."""
        images = [
            (answered, index, image)
            for answered in batch
            for index, image in answered.images.items()
        ]
        if not images:
            return []
        try:
            size_bytes = sum(image.pixels.nbytes for _, _, image in images)
            self._blobs.require_space(size_bytes, floor_bytes=self._floor_bytes)
            hashes = self._blobs.put_many(image.to_png() for _, _, image in images)
            return [
                _new_image(answered, index, sha256, image)
                for (answered, index, image), sha256 in zip(images, hashes, strict=True)
            ]
        except (RegistryError, OSError) as error:
            self._drop_images(len(images), error)
            return []
        finally:
            for answered in batch:
                answered.images.clear()

    def _drop(self, count: int) -> None:
        self._metrics.dropped.inc(count)
        with self._written:
            self.n_dropped += count

    def _drop_images(self, count: int, error: RegistryError | OSError) -> None:
        self._metrics.images_not_kept.inc(count)
        log.warning("prediction_images_not_kept", images=count, reason=str(error))

    def _write(self, batch: list[_Answered], images: list[NewImage]) -> None:
        predictions = [answered.prediction for answered in batch]
        while True:
            try:
                self._store(predictions, images)
            except DatabaseUnavailableError:
                if self._is_stopping:
                    self._drop(len(batch))
                    return
                time.sleep(RETRY_S)
            except RegistryError as error:
                # The blob store cannot say whether it still has the images.
                self._drop_images(len(images), error)
                images = []
            except StatementError:
                self._write_singly(predictions, images)
                return
            else:
                return

    def _write_singly(self, predictions: list[NewPrediction], images: list[NewImage]) -> None:
        """Store one by one: a learner deleted meanwhile must not take the others' answers with it."""
        for prediction in predictions:
            try:
                self._store([prediction], [i for i in images if i.prediction_id == prediction.id])
            except (StatementError, RegistryError):
                self._drop(1)
                log.info("prediction_not_stored", prediction=prediction.id)

    def _store(self, predictions: list[NewPrediction], images: list[NewImage]) -> None:
        with self._sessions.begin() as session:
            add_predictions(session, predictions)
            telling_answers.predicted(session, predictions)
            n_lost = add_images(session, images, self._blobs)
        self._metrics.images_not_kept.inc(n_lost)


def _new_image(answered: _Answered, index: int, sha256: str, image: DecodedImage) -> NewImage:
    """Return what an image is kept as, with what a person may be asked about it."""
    prediction, features = answered.prediction, answered.features.get(index)
    look = Look(
        small=make_small(image.pixels),
        features=None if features is None else features.values,
        features_of=None if features is None else features.made_by,
    )
    height, width, _ = image.pixels.shape
    review = NewReview(
        prediction.id,
        index,
        prediction.learner_id,
        prediction.version,
        prediction.created_at,
        prediction.results[index],
        look,
    )
    return NewImage(prediction.id, index, sha256, width, height, review)


def _step_back() -> None:
    """Let this thread have what processor others leave: encoding images must not slow predictions down."""
    with suppress(OSError, AttributeError):  # only Linux has a priority a thread
        os.setpriority(os.PRIO_PROCESS, get_native_id(), NICENESS)
