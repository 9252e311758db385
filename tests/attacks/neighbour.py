"""Somebody who wants predictions while somebody else does harm, over real sockets."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx

from benchmarks.bad_input.service import LEARNER, Service, new_key, picture
from tests.waiting import PACE, wait_until

EVERY_S = 0.05
TIMES_QUIET = 3.0
"""How much longer the slowest hundredth may wait than without the attack."""
NOISE_S = 0.4
"""Below this a share of a second says more about the scheduler than about the service, with the attackers on the same
cores; times the pace. How late neighbours really are is measured by `benchmarks.bad_input`, on a quiet machine."""
PNG = {"Content-Type": "image/png"}


@dataclass
class Spell:
    """What a neighbour met for a while."""

    statuses: list[int] = field(default_factory=list)
    """0 stands for no answer."""
    seconds: list[float] = field(default_factory=list)

    @property
    def p99_s(self) -> float:
        """Time within which 99 of 100 predictions were answered, in seconds."""
        ordered = sorted(self.seconds)
        return ordered[math.ceil(0.99 * len(ordered)) - 1]


class Neighbour:
    """Predicts one small picture after another, twenty a second at most, on a connection kept alive. A context.

    With a key of its own: what one key is refused for now is not another's harm.

    Example:
        with Neighbour(service) as neighbour:
            quiet = neighbour.watch(3.0)
            with neighbour.watching(5.0) as attacked:
                attack()
            require_unharmed(attacked, quiet, neighbour.watch(3.0))
    """

    def __init__(self, service: Service) -> None:
        self._client = httpx.Client(
            base_url=service.url,
            headers={"Authorization": f"Bearer {new_key(service.client, 'predictor', 'neighbour')}"}
            | PNG,
            timeout=PACE.scaled(60.0),
        )
        self._image = picture("heron", 99)
        self._spell = Spell()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="neighbour")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._client.close()

    @contextmanager
    def watching(self, seconds: float) -> Iterator[Spell]:
        """Gather what it meets during the block, which lasts at least so long, until its last question is answered."""
        started = time.monotonic()
        self._spell = spell = Spell()
        yield spell
        wait_until(lambda: time.monotonic() - started >= seconds and spell.seconds)
        self._spell = later = Spell()
        wait_until(lambda: later.seconds)

    def watch(self, seconds: float) -> Spell:
        """Return what it meets in the next seconds."""
        with self.watching(seconds) as spell:
            pass
        return spell

    def _run(self) -> None:
        path = f"/v1/learners/{LEARNER}/predictions?store=false"
        while not self._stopping.is_set():
            spell, asked = self._spell, time.monotonic()
            try:
                status = self._client.post(path, content=self._image).status_code
            except httpx.HTTPError:
                status = 0
            spell.statuses.append(status)
            spell.seconds.append(time.monotonic() - asked)
            self._stopping.wait(max(0.0, EVERY_S - (time.monotonic() - asked)))


def require_unharmed(attacked: Spell, *quiet: Spell) -> None:
    """Fail unless every prediction was answered with 200, and about as soon as in the quiet spells before and after."""
    assert set(attacked.statuses) == {200}, attacked.statuses
    allowed = max(TIMES_QUIET * max(spell.p99_s for spell in quiet), NOISE_S * PACE.factor)
    assert attacked.p99_s <= allowed, f"p99 {attacked.p99_s:.3f} s; {allowed:.3f} s are allowed"
