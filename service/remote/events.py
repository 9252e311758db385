"""A task's events as they happen: server-sent events, resumed after a cut where they left off.

One `EventFeed` follows one task over as many connections as it takes. The clients open the connections and hand in what
arrives; whether and when to go on is decided here. httpx-sse is not used: it keeps to itself the
comments by which a service with nothing to tell shows that it is there, and reads a response, not bytes.
"""

import json
import time

import httpx

from service.remote import replies
from service.remote.calls import Call, Pause, Steps
from service.remote.errors import ProblemError, UnreachableError
from service.remote.retries import Retries
from service.remote.statuses import ENDED
from service.remote.task_calls import task


class EventFeed:
    """Reads the stream of one task.

    Args:
        task_id: The task.
        after: Sequence number of the last event that is known already.
        retries: How patient to be when the service stays away.
    """

    def __init__(self, task_id: str, after: int, retries: Retries) -> None:
        self.is_open = True
        self._task_id = task_id
        self._after = after
        self._retries = retries
        self._lines = LineBuffer()
        self._fields: dict[str, str] = {}
        self._last_type = ""
        self._got_events = False
        self._has_ended = False
        self._failures = 0
        self._heard = time.monotonic()

    def call(self) -> Call[None]:
        """Return the request for the events that are not known yet."""
        self._lines, self._fields, self._got_events = LineBuffer(), {}, False
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self._after:
            headers["Last-Event-ID"] = str(self._after)
        return Call(
            "GET", "/v1/tasks/{task_id}/events", {"task_id": self._task_id}, headers=headers
        )

    def take(self, data: bytes) -> list[replies.TaskEvent]:
        """Take in what arrived and return the events that are complete."""
        self._heard = time.monotonic()
        self._failures = 0
        events = [self._take_line(line) for line in self._lines.split(data)]
        return [event for event in events if event is not None]

    def _take_line(self, line: str) -> replies.TaskEvent | None:
        """Take in a line; a blank one completes an event, one that starts with a colon is a sign of life."""
        if line:
            name, _, value = line.partition(":")
            self._fields[name] = value.removeprefix(" ")
            return None
        fields, self._fields = self._fields, {}
        if "data" not in fields:
            return None
        data = json.loads(fields["data"])
        self._after = int(fields["id"])
        self._last_type = fields["event"]
        self._got_events = True
        return {
            "seq": self._after,
            "type": self._last_type,
            "created_at": data.pop("at"),
            "data": data,
        }

    def after_close(self) -> Steps[None]:
        """Decide how to go on when the service closed the stream in order.

        It does so when the task has ended and everything is told, and when it stops itself. Only `end` tells the one
        from the other; where that was known before, an empty stream of a task that had ended does.
        """
        if self._last_type == "end" or (self._has_ended and not self._got_events):
            self.is_open = False
        elif not self._got_events:
            reply = yield from task(self._task_id).steps(self._retries)
            self._has_ended = reply["status"] in ENDED
            yield Pause(self._retries.backoff_s(0))

    def after_refusal(self, response: httpx.Response) -> Steps[None]:
        """Wait if the refusal will pass.

        Raises:
            ProblemError: If it will not.
        """
        yield from self._bear(ProblemError(response))

    def after_cut(self, error: httpx.TransportError) -> Steps[None]:
        """Wait before the next connection.

        Raises:
            UnreachableError: If the service stays away.
        """
        failure = UnreachableError(error)
        failure.__cause__ = error
        yield from self._bear(failure)

    def _bear(self, failure: ProblemError | UnreachableError) -> Steps[None]:
        silent_s = time.monotonic() - self._heard
        if not failure.is_passing or silent_s > self._retries.patience_s:
            raise failure
        named_s = failure.retry_after_s if isinstance(failure, ProblemError) else None
        yield Pause(max(named_s or 0.0, self._retries.backoff_s(self._failures)))
        self._failures += 1


class LineBuffer:
    r"""Cuts a stream of bytes into lines, wherever its chunks end.

    Example:
        >>> lines = LineBuffer()
        >>> lines.split(b"id: 1\r\nda"), lines.split(b"ta: x\n\n")
        (['id: 1'], ['data: x', ''])
    """

    def __init__(self) -> None:
        self._rest = b""

    def split(self, data: bytes) -> list[str]:
        """Return the lines that `data` completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.removesuffix(b"\r").decode("utf-8", "replace") for line in lines]
