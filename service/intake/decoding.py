"""The threads that decode images, shared fairly by keys, and a bound on what waits for them."""

import math
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Condition
from time import perf_counter
from typing import TypeVar

from anyio import CapacityLimiter

from service.fairness import FairPool
from service.intake.cost import LIGHT_WORK, UNIT_S
from service.intake.forms import ImageForm
from service.intake.images import DecodedImage, ImageLimits, Weight, decode_image, weigh_image
from service.intake.jpeg import has_short_header
from service.intake.upload_slots import UploadSlots
from service.metrics import Metrics
from service.problems import Problem
from service.settings import ServiceSettings

QUICK_BYTES = 512 * 1024
"""A JPEG of that size is looked at in 0.05 ms, and in 1 ms however it was made, if it has a short header."""
SMALL_BYTES = 50_000_000
"""Memory of an image that is decoded without asking: 12 megapixels of a PNG."""
LARGE_NICENESS, UPLOAD_NICENESS = 5, 10
"""How far the threads for large images and for uploads stand back for everything else in the process. Learning stands
back by 10."""
TYPICAL_WORK = 1_000_000.0
"""What an image of an upload counts as before it is opened: its turn comes by number then; chosen, untested."""

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class DecodeMemory:
    """Bytes that all threads may take together for decoding; who finds too few left waits.

    Small images pass: without them a large one would hold up every thumbnail behind it.
    """

    def __init__(self, size_bytes: float) -> None:
        self._left = size_bytes
        self._changed = Condition()

    @contextmanager
    def reserve(self, size_bytes: float) -> Iterator[None]:
        """Hold that many bytes. No image takes more than half of them: larger ones are refused by their header."""
        if size_bytes < SMALL_BYTES:
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: self._left >= size_bytes)
            self._left -= size_bytes
        try:
            yield
        finally:
            with self._changed:
                self._left += size_bytes
                self._changed.notify_all()


class Decoder:
    """Decodes images on its own threads. Close it when the service stops.

    Pools of their own, each fair between keys, for headers, small and large images of predictions, and uploads: none
    waits behind what takes longer than itself. The threads for what takes long stand back for everything else.
    """

    def __init__(self, settings: ServiceSettings, metrics: Metrics) -> None:
        self._limits = ImageLimits(
            settings.max_image_bytes, settings.max_image_pixels, settings.max_decode_bytes
        )
        self._memory = DecodeMemory(2 * settings.max_decode_bytes)
        self._metrics = metrics
        self._window = 2 * settings.decode_threads
        self._max_wait_s = settings.max_wait_s
        self._most_work = settings.max_predict_pixels
        self.uploads = UploadSlots(settings.upload_slots)
        """Uploads being decoded; an own limit, so that they never take the threads of other requests."""
        self.unpacking = CapacityLimiter(settings.upload_slots)
        """Uploads being taken apart before that, likewise."""
        n = settings.decode_threads
        self._header_pool = FairPool(1, "decode-headers", unit_s=UNIT_S)
        self._light_pool = FairPool(n, "decode-predict", unit_s=UNIT_S)
        self._large_pool = FairPool(n, "decode-large", unit_s=UNIT_S, niceness=LARGE_NICENESS)
        self._upload_pool = FairPool(n, "decode-upload", unit_s=UNIT_S, niceness=UPLOAD_NICENESS)

    def close(self) -> None:
        """Stop the threads after what they are doing."""
        for pool in (self._header_pool, self._light_pool, self._large_pool, self._upload_pool):
            pool.close()

    def decode(self, data: bytes, form: ImageForm) -> DecodedImage:
        """Decode one image in the calling thread.

        Raises:
            Problem: See `service.intake.images.decode_image`.
        """
        started = perf_counter()
        try:
            return decode_image(data, self._limits, form, self._memory.reserve)
        finally:
            self._metrics.decode_seconds.observe(perf_counter() - started)

    def weigh(
        self, owner: Hashable, files: Sequence[bytes], form: ImageForm
    ) -> Future[list[Weight | Problem]]:
        """Tell of each image what decoding it takes, by its header alone, or why it is refused.

        The only image of a request is looked at here and now if that is quick: handing it to another thread and its
        weight back would take several times as long.
        """

        def work() -> list[Weight | Problem]:
            return [self._weigh(data, form) for data in files]

        if len(files) == 1 and len(files[0]) <= QUICK_BYTES and has_short_header(files[0]):
            known: Future[list[Weight | Problem]] = Future()
            known.set_result(work())
            return known
        return self._header_pool.submit(owner, len(files), work)

    def _weigh(self, data: bytes, form: ImageForm) -> Weight | Problem:
        try:
            return weigh_image(data, self._limits, form)
        except Problem as problem:
            return problem

    def require_payable(self, work: float) -> None:
        """Refuse a prediction whose images take more work than one request may cause.

        Raises:
            Problem: `too-many-pixels`.
        """
        if work > self._most_work:
            asked, most = math.ceil(work / 1e6), int(self._most_work / 1e6)
            raise Problem(
                "too-many-pixels",
                f"Decoding the images takes as much work as {asked:,} megapixels of PNG: at most {most:,} are taken "
                "at a time. Send fewer images in a request, or smaller ones, or JPEG.",
            )

    def require_capacity(self, owner: Hashable, weights: Sequence[Weight]) -> float:
        """Refuse a prediction that would wait too long to be decoded; return about how long decoding it takes, seconds.

        Raises:
            Problem: `overloaded`.
        """
        waits, own_s = [0.0], 0.0
        for pool, is_light in ((self._light_pool, True), (self._large_pool, False)):
            work = sum(weight.work for weight in weights if _is_light(weight) is is_light)
            if work:
                waits.append(pool.wait_s(owner, work))
                own_s += pool.own_s(work)
        if max(waits) > self._max_wait_s:
            raise self.overloaded(max(waits) - self._max_wait_s / 2)
        return own_s

    def overloaded(self, retry_s: float = 0.0) -> Problem:
        """Count and return the refusal of a prediction that would wait, or has waited, too long."""
        self._metrics.overloaded.inc()
        return Problem("overloaded", headers={"Retry-After": str(max(1, math.ceil(retry_s)))})

    def submit(
        self, owner: Hashable, weight: Weight, work: Callable[[], ResultT]
    ) -> Future[ResultT]:
        """Run the decoding of one image of a prediction on the threads for its kind when its owner's turn comes."""
        pool = self._light_pool if _is_light(weight) else self._large_pool
        return pool.submit(owner, weight.work, work)

    @property
    def n_waiting(self) -> int:
        """Images of predictions that no thread has begun."""
        return self._light_pool.n_waiting + self._large_pool.n_waiting

    def map_upload(
        self,
        work: Callable[[ItemT], ResultT],
        items: Iterable[ItemT],
        owner: Hashable,
    ) -> Iterator[ResultT]:
        """Apply `work` on the upload threads and yield results in order, holding only a few at a time."""
        waiting: deque[Future[ResultT]] = deque()
        try:
            for item in items:
                job = _bound(work, item)
                waiting.append(self._upload_pool.submit(owner, TYPICAL_WORK, job))
                if len(waiting) > self._window:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _is_light(weight: Weight) -> bool:
    """Return whether an image is decoded in a moment, and without waiting for memory."""
    return weight.work <= LIGHT_WORK and weight.n_bytes < SMALL_BYTES


def _bound(work: Callable[[ItemT], ResultT], item: ItemT) -> Callable[[], ResultT]:
    return lambda: work(item)
