"""Clients that ask for a change again and again, under one key, until it is granted, refused, or given up."""

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from benchmarks.chaos.clients import GIVE_UP_S, RETRY_S, Client
from benchmarks.chaos.history import History, Phase

OVER_LOADED = (httpx.codes.TOO_MANY_REQUESTS,)
REPEATED = ("idempotency-in-progress",)


@dataclass
class Operation:
    """Something that was to change, insisted on until it was answered."""

    kind: str
    """`move`, `unlearn`, `feedback`, `import` or `job`."""
    key: str
    started: float
    """Seconds since 1970."""
    what: dict[str, Any]
    ended: float | None = None
    """When it was answered for good; None if it never was."""
    outcome: Phase = "unknown"
    refusal: str | None = None
    answer: dict[str, Any] = field(default_factory=dict)
    tries: int = 0


@dataclass(frozen=True)
class PredictedLabel:
    """What a learner said of an image."""

    image: int
    label: str | None
    score: float | None


class Insisting(Client):
    """A client that asks any of the apis, and writes down what it asked and what came back."""

    def __init__(
        self,
        name: str,
        urls: dict[str, str],
        key: str,
        history: History,
        operations: list[Operation],
        *,
        seed: int,
        timeout_s: float,
        pace: float,
    ) -> None:
        super().__init__(name, urls, key, history, timeout_s=timeout_s)
        self._operations = operations
        self._pace = pace
        self._random = random.Random(seed)
        self._n = 0

    def _get(self, path: str) -> dict[str, Any] | None:
        return body_of(self._try("look", path, lambda client: client.get(path)))

    def _repeat_until_answered(
        self,
        kind: str,
        what: dict[str, Any],
        send: Callable[[httpx.Client, str], httpx.Response],
    ) -> Operation:
        """Ask for a change again and again, under one key, until it is granted, refused, or given up."""
        self._n += 1
        one = Operation(kind, f"{kind}-{self._n}-{self.history.started:.0f}", time.time(), what)
        self._operations.append(one)
        self.history.add(kind, one.key, "invoke", **what)
        deadline = time.monotonic() + GIVE_UP_S * self._pace
        while time.monotonic() < deadline:
            one.tries += 1
            answer = self._try("operate", one.key, lambda client: send(client, one.key))
            if answer is not None and not _is_temporary(answer):
                one.ended = time.time()
                one.answer = answer.json()
                one.refusal = None if answer.is_success else str(one.answer.get("code"))
                one.outcome = "ok" if answer.is_success else "fail"
                break
            time.sleep(RETRY_S)
        self.history.add(kind, one.key, one.outcome, refusal=one.refusal, tries=one.tries)
        return one

    def _try(
        self, op: str, op_id: str, send: Callable[[httpx.Client], httpx.Response]
    ) -> httpx.Response | None:
        api = self._random.choice(list(self.apis))
        try:
            answer = send(self.apis[api])
        except httpx.HTTPError as error:
            self.history.add(op, op_id, "unknown", api=api, outcome=type(error).__name__)
            return None
        phase: Phase = "ok" if answer.is_success else "fail"
        self.history.add(op, op_id, phase, api=api, status=answer.status_code)
        return answer


def body_of(answer: httpx.Response | None) -> dict[str, Any] | None:
    """Return what a request for a body came to; None if there was no answer, or another one."""
    if answer is None or answer.status_code != httpx.codes.OK:
        return None
    body: dict[str, Any] = json.loads(answer.content)
    return body


def _is_temporary(answer: httpx.Response) -> bool:
    if answer.status_code >= 500 or answer.status_code in OVER_LOADED:
        return True
    return not answer.is_success and answer.json().get("code") in REPEATED
