"""The small pool of threads that decodes images, and a bound on what waits for it."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Condition, Lock
from time import perf_counter
from typing import Any, TypeVar

from anyio import CapacityLimiter

from service.http.problems import Problem
from service.intake.images import DecodedImage, ImageLimits, decode_image
from service.metrics import Metrics
from service.settings import ServiceSettings

SMALL_BYTES = 50_000_000
"""Memory of an image that is decoded without asking: 12 megapixels of a PNG."""
SMOOTHING = 0.1
"""Weight of the newest image in the running cost of decoding one; chosen, untested."""

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
    """Decodes images on its own threads. Close it when the service stops."""

    def __init__(self, settings: ServiceSettings, metrics: Metrics) -> None:
        self._limits = ImageLimits(
            settings.max_image_bytes, settings.max_image_pixels, settings.max_decode_bytes
        )
        self._memory = DecodeMemory(2 * settings.max_decode_bytes)
        self._metrics = metrics
        self._window = 2 * settings.decode_threads
        self.uploads = CapacityLimiter(settings.upload_slots)
        """Uploads being decoded; an own limit, so that they never take the threads of other requests."""
        self.unpacking = CapacityLimiter(settings.upload_slots)
        """Uploads being taken apart before that, likewise."""
        # Two pools: a long upload must not make a prediction wait behind its thousands of images.
        self._upload_pool = ThreadPoolExecutor(settings.decode_threads, "decode-upload")
        self._predict_pool = ThreadPoolExecutor(settings.decode_threads, "decode-predict")
        self._threads = settings.decode_threads
        self._max_wait_s = settings.max_wait_s
        self._lock = Lock()
        self._waiting = 0
        self._image_s = 0.0

    def close(self) -> None:
        """Stop the threads after what they are doing."""
        self._upload_pool.shutdown(cancel_futures=True)
        self._predict_pool.shutdown(cancel_futures=True)

    def decode(self, data: bytes) -> DecodedImage:
        """Decode one image in the calling thread.

        Raises:
            Problem: See `service.intake.images.decode_image`.
        """
        started = perf_counter()
        try:
            return decode_image(data, self._limits, self._memory.reserve)
        finally:
            seconds = perf_counter() - started
            self._metrics.decode_seconds.observe(seconds)
            with self._lock:
                self._image_s += SMOOTHING * (seconds - self._image_s)

    def require_capacity(self) -> None:
        """Refuse a prediction that would wait too long to be decoded.

        Raises:
            Problem: `overloaded`.
        """
        with self._lock:
            estimate = self._waiting * self._image_s / self._threads
        if estimate > self._max_wait_s:
            self._metrics.overloaded.inc()
            raise Problem("overloaded", headers={"Retry-After": str(math.ceil(estimate / 2))})

    def submit(self, work: Callable[[], ResultT]) -> Future[ResultT]:
        """Run the decoding of one image of a prediction on the threads for those."""
        with self._lock:
            self._waiting += 1
        future = self._predict_pool.submit(work)
        future.add_done_callback(self._note_done)
        return future

    def _note_done(self, future: Future[Any]) -> None:
        with self._lock:
            self._waiting -= 1

    def require_upload_slot(self) -> None:
        """Refuse an upload, before it is read, while as many are being decoded as may be.

        Raises:
            Problem: `overloaded`.
        """
        if self.uploads.available_tokens < 1:
            raise Problem("overloaded", "Too many uploads are being decoded: repeat in a moment.")

    def map_upload(
        self, work: Callable[[ItemT], ResultT], items: Iterable[ItemT]
    ) -> Iterator[ResultT]:
        """Apply `work` on the upload threads and yield results in order, holding only a few at a time."""
        waiting: deque[Future[ResultT]] = deque()
        try:
            for item in items:
                waiting.append(self._upload_pool.submit(work, item))
                if len(waiting) > self._window:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
