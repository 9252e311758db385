"""Waiting for what takes a while: a task, or a prediction job."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from service.remote.calls import Call, Pause, Steps
from service.remote.errors import ProblemError, UnreachableError, WaitTimeoutError
from service.remote.retries import Retries
from service.remote.statuses import ENDED

LONG_POLL_S = 30
ReplyT = TypeVar("ReplyT")


@dataclass(frozen=True)
class Following(Generic[ReplyT]):
    """The exchange of waiting for something: it is read again and again until it has ended.

    Outlives a restart of the service: what is waited for is a row, not a connection.
    """

    id: str
    """What it is called where it takes too long."""
    read: Callable[[float | None], Call[ReplyT]]
    """Returns how to read it: at the latest after so many seconds, if it has not ended before."""
    on_progress: Callable[[ReplyT], None] | None = None
    """Told about it at once, every `poll_s` and when it has ended; without it the service is asked to answer as late as
    it can."""
    timeout_s: float | None = None
    poll_s: float = 0.4
    body: None = None

    def steps(self, retries: Retries) -> Steps[ReplyT]:
        """Return it as it ended.

        Raises:
            WaitTimeoutError: If it has not ended after `timeout_s`.
            UnreachableError: If the service stays away.
        """
        started = time.monotonic()
        wait_s: float | None = None if self.on_progress else LONG_POLL_S
        while True:
            asked_at = time.monotonic()
            reply: Any = yield from self._read(retries, self._left_s(started), wait_s)
            if self.on_progress:
                self.on_progress(reply)
            if reply["status"] in ENDED:
                return reply  # type: ignore[no-any-return]  # a reply is a dictionary of its kind
            left_s = self._left_s(started)
            if left_s <= 0:
                raise WaitTimeoutError(f"{self.id} has not ended in {self.timeout_s:g} s.")
            if self.on_progress:
                # A service that is about to stop answers earlier than it was asked to.
                early_s = 0.0 if wait_s is None else wait_s - (time.monotonic() - asked_at)
                wait_s = self.poll_s
                yield Pause(max(0.0, min(early_s, left_s)))
            elif left_s < 1:
                yield Pause(min(self.poll_s, left_s))

    def _read(self, retries: Retries, left_s: float, wait_s: float | None) -> Steps[ReplyT]:
        """Read it; while nobody answers, again and again until patience is over."""
        if wait_s is not None:
            wait_s = max(0, min(wait_s, int(left_s) if wait_s >= 1 else left_s))
        patience_s = retries.patience_s if self.timeout_s is None else left_s
        silent_since = time.monotonic()
        while True:
            try:
                return (yield from self.read(wait_s).steps(retries))
            except (UnreachableError, ProblemError) as failure:
                if not failure.is_passing or time.monotonic() - silent_since > patience_s:
                    raise
                yield Pause(retries.backoff_s(0))

    def _left_s(self, started: float) -> float:
        if self.timeout_s is None:
            return float(LONG_POLL_S)
        return self.timeout_s - (time.monotonic() - started)
