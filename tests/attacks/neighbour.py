"""Somebody who wants predictions while somebody else does harm, over real sockets."""

import base64
import functools
import json
import logging
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self
from urllib.parse import urlsplit

import httpx

from benchmarks.bad_input.service import LEARNER, Service, new_key, picture
from tests.attacks.strangers import cpu_s
from tests.waiting import PACE, wait_until

log = logging.getLogger(__name__)

EVERY_S = 0.05
TIMES_QUIET = 3.0
"""How much longer the slowest hundredth may wait than without the attack."""
NOISE_S = 0.5
"""Below this a share of a second says more about the scheduler than about the service, with the attackers on the same
cores; times the pace. How late neighbours really are is measured by `benchmarks.bad_input`, on a quiet machine."""
TRIES = 3
TOO_LATE = httpx.codes.SERVICE_UNAVAILABLE
"""With the code `overloaded`: the answer would have come after `MAX_WAIT_S`."""
Args = ParamSpec("Args")


@dataclass
class Spell:
    """What a neighbour met for a while."""

    statuses: list[int] = field(default_factory=list)
    """0 stands for no answer."""
    seconds: list[float] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    """Of each that was not answered with 200: the status, after how many seconds, and what the answer says."""
    cores: float = 0.0
    """Processor time of the service in a second, all of its threads together."""

    @property
    def p99_s(self) -> float:
        """Time within which 99 of 100 predictions were answered, in seconds."""
        ordered = sorted(self.seconds)
        return ordered[math.ceil(0.99 * len(ordered)) - 1]


class Neighbour:
    """Predicts one small picture after another, twenty a second at most, on a connection kept alive. A context.

    With a key of its own: what one key is refused for now is not another's harm. In a process of its own: a
    thread of this one would wait for the attackers' interpreter too.

    Example:
        with Neighbour(service) as neighbour:
            quiet = neighbour.watch(3.0)
            with neighbour.watching(5.0) as attacked:
                attack()
            require_unharmed(attacked, quiet, neighbour.watch(3.0))
    """

    def __init__(self, service: Service) -> None:
        url = urlsplit(service.url)
        key = new_key(service.client, "predictor", "neighbour")
        self._told = {
            "host": url.hostname,
            "port": url.port,
            "path": f"/v1/learners/{LEARNER}/predictions?store=false",
            "headers": {"Authorization": f"Bearer {key}", "Content-Type": "image/png"},
            "image": base64.b64encode(picture("heron", 99)).decode(),
            "every_s": EVERY_S,
            "timeout_s": PACE.scaled(60.0),
        }
        self._pid = service.process.pid
        self._spells: list[tuple[float, Spell]] = []
        """Each with when it begins, by the clock that all processes share; in order."""

    def __enter__(self) -> Self:
        self._begin_spell()
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("predicting.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(self._told) + "\n")
        self._reader = threading.Thread(target=self._read, name="neighbour")
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._reader.join()
        # Closes the pipes too, and waits.
        self._process.__exit__(None, None, None)

    @contextmanager
    def watching(self, seconds: float) -> Iterator[Spell]:
        """Gather what it meets during the block, which lasts at least so long, until its last question is answered.

        A question that was asked before and is still open when the block begins is one of them.
        """
        started, before_s = time.monotonic(), cpu_s(self._pid)
        spell = self._begin_spell()
        yield spell
        wait_until(lambda: time.monotonic() - started >= seconds and spell.seconds)
        spell.cores = (cpu_s(self._pid) - before_s) / (time.monotonic() - started)
        later = self._begin_spell()
        wait_until(lambda: later.seconds)

    def watch(self, seconds: float) -> Spell:
        """Return what it meets in the next seconds."""
        with self.watching(seconds) as spell:
            pass
        return spell

    def _begin_spell(self) -> Spell:
        spell = Spell()
        self._spells.append((time.monotonic(), spell))
        return spell

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            asked, status, took_s, why = line.rstrip("\n").split(" ", 3)
            began = next(
                i for i in reversed(range(len(self._spells))) if self._spells[i][0] <= float(asked)
            )
            # One that was under way when a spell began may be what waits through all of it.
            for begins, spell in self._spells[began:]:
                if begins <= float(asked) + float(took_s):
                    spell.statuses.append(int(status))
                    spell.seconds.append(float(took_s))
                    if int(status) != httpx.codes.OK:
                        spell.refusals.append(f"{status} after {float(took_s):.1f} s: {why}")


class TooLateError(AssertionError):
    """A neighbour was answered later than is allowed, or told that it would be."""


def require_unharmed(attacked: Spell, *quiet: Spell) -> None:
    """Fail unless every prediction was answered with 200, and about as soon as in the quiet spells before and after."""
    if set(attacked.statuses) == {200, TOO_LATE} and all(
        '"overloaded"' in refusal for refusal in attacked.refusals
    ):
        raise TooLateError(attacked.refusals)
    assert set(attacked.statuses) == {200}, attacked.refusals
    allowed = max(TIMES_QUIET * max(spell.p99_s for spell in quiet), NOISE_S * PACE.factor)
    if attacked.p99_s > allowed:
        raise TooLateError(f"p99 {attacked.p99_s:.3f} s; {allowed:.3f} s are allowed")


def harmless(test: Callable[Args, None]) -> Callable[Args, None]:
    """Let a neighbour be late up to twice: harm of an attack comes each time, a hiccup of the machine does not."""

    @functools.wraps(test)
    def tried(*args: Args.args, **named: Args.kwargs) -> None:
        for _ in range(TRIES - 1):
            try:
                return test(*args, **named)
            except TooLateError as error:
                log.warning("a neighbour was late: %s", error)
        return test(*args, **named)

    return tried
