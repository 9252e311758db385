"""One client that asks for predictions at a fixed rate, each timed from the moment it was due."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import httpx

PER_S = 10
CONNECTIONS = 8


@dataclass(frozen=True)
class Period:
    """What the client saw."""

    p50_ms: float
    p99_ms: float
    n: int
    n_failed: int


class Asking:
    """Asks about one image of a learner. A context."""

    def __init__(self, url: str, key: str, learner: str, image: bytes) -> None:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "image/png"}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=60)
        self._pool = ThreadPoolExecutor(CONNECTIONS)
        self._path = f"/v1/learners/{learner}/predictions"
        self._image = image

    def __enter__(self) -> "Asking":
        self.period(1.0)  # connections are opened and the version is used once
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()
        self._client.close()

    def period(self, seconds: float, goes_on: Callable[[], bool] = lambda: True) -> Period:
        """Ask for some seconds, or until something is over.

        Args:
            seconds: At most.
            goes_on: Looked at before each question, in the thread that calls.
        """
        started = time.perf_counter()
        waiting = []
        for i in range(int(seconds * PER_S)):
            due = started + i / PER_S
            time.sleep(max(0.0, due - time.perf_counter()))
            if not goes_on():
                break
            waiting.append(self._pool.submit(self._ask, due))
        answers = [one.result() for one in waiting]
        times = sorted(took for took, _ in answers) or [0.0]
        return Period(
            p50_ms=round(1000 * statistics.median(times), 1),
            p99_ms=round(1000 * times[min(len(times) - 1, int(0.99 * len(times)))], 1),
            n=len(answers),
            n_failed=sum(not is_well for _, is_well in answers),
        )

    def _ask(self, due: float) -> tuple[float, bool]:
        is_well = False
        with suppress(httpx.HTTPError):
            answer = self._client.post(self._path, content=self._image)
            is_well = answer.status_code == httpx.codes.OK
        return time.perf_counter() - due, is_well
