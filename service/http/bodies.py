"""Bodies as they come: how long each may be, how much of all of them is held in memory, and how fast they are read."""

import asyncio
import time
from dataclasses import dataclass, field
from hashlib import sha256

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Scope

from service.http.buckets import network_of
from service.http.demands import Demands
from service.http.in_flight import TAKES_OF_FREE
from service.http.security import Principal, client_address
from service.problems import Problem
from service.settings import ServiceSettings

SMALL_BODY_BYTES = 1024 * 1024
"""What of a body is read as it comes, before `Pace` counts."""
STRANGER_BODY_BYTES = 4 * 1024
"""A body without a key: what logs in is a key or a link, and the page to come back to."""
STRANGERS_HOLD_BYTES = 64 * 1024
"""What all bodies without a key from one address hold together."""
STRANGER_BODY_S = 5.0
"""How long one may take to come; what a login sends fits into the packet of its headers. Chosen, untested."""


def body_limit(demands: Demands, principal: Principal | None, settings: ServiceSettings) -> int:
    """Return how many bytes the body of a request may have, by what it is and whether there is a key."""
    return STRANGER_BODY_BYTES if principal is None else demands.max_bytes(settings)


def goes_to_disk(demands: Demands, headers: Headers) -> bool:
    """Return whether a route writes the body into a spool as it comes: all forms of an upload but JSON."""
    return demands.is_spooled and "json" not in headers.get("content-type", "").lower()


@dataclass(frozen=True)
class Holder:
    """For whom bodies are held: a key, or the address of those who come without."""

    name: str
    is_stranger: bool = False


def holder_of(scope: Scope, principal: Principal | None) -> Holder:
    """Return for whom a request's body is held."""
    if principal is not None:
        return Holder(principal.key_id)
    return Holder(f"from {network_of(client_address(scope))}", is_stranger=True)


@dataclass
class BodyBudget:
    """A bound on the bodies that all requests together hold in memory, and on each holder's. For one event loop."""

    most_bytes: int
    largest_body: int = 0
    """Bytes of the largest one: it must find room where nobody else holds any."""
    held_bytes: int = 0
    _held_for: dict[Holder, int] = field(default_factory=dict)

    def take(self, n_bytes: int, holder: Holder | None = None) -> None:
        """Count bytes in.

        Raises:
            Problem: `overloaded`, if there is no room for them, and `rate-limited`, if an address without a key holds
                enough; they are not counted then.
        """
        free = self.most_bytes - self.held_bytes - n_bytes
        if free < 0:
            raise Problem("overloaded")
        if holder is None:
            self.held_bytes += n_bytes
            return
        held = self._held_for.get(holder, 0) + n_bytes
        if holder.is_stranger and held > STRANGERS_HOLD_BYTES:
            detail = "Too much without a key is on its way from this address: wait a moment."
            raise Problem("rate-limited", detail, headers={"Retry-After": "1"})
        if not holder.is_stranger and held > max(TAKES_OF_FREE * free, self._always):
            detail = "Requests of this key hold as much memory as one key may: wait for answers."
            raise Problem("overloaded", detail)
        self.held_bytes += n_bytes
        self._held_for[holder] = held

    def give_back(self, n_bytes: int, holder: Holder | None = None) -> None:
        """Count bytes out again."""
        self.held_bytes -= n_bytes
        if holder is not None and (left := self._held_for.pop(holder, 0) - n_bytes) > 0:
            self._held_for[holder] = left

    @property
    def _always(self) -> int:
        """What a key may hold whoever else does: nothing, unless there is room for hardly more than one body."""
        share = self.most_bytes * TAKES_OF_FREE // (TAKES_OF_FREE + 1)
        return self.largest_body if share < self.largest_body else 0


@dataclass
class Pace:
    """How fast the large bodies of all requests together are read. For one event loop.

    Reading as fast as a sender sends takes the processor from those who want a prediction.
    """

    bytes_per_s: int
    """0 is as fast as they come."""
    free_at: float = 0.0
    """When the bytes read so far are paid for, on the monotonic clock."""

    async def take(self, n_bytes: int) -> None:
        """Wait until the next bytes may be read."""
        if self.bytes_per_s:
            now = time.monotonic()
            self.free_at = max(now, self.free_at) + n_bytes / self.bytes_per_s
            await asyncio.sleep(self.free_at - now)


@dataclass
class BodyMeter:
    """Counts a request's body as it comes, stops it at its limit, and compares it with its Content-Digest."""

    limit: int
    expected_sha256: bytes | None = None
    budget: BodyBudget | None = None
    """Where it is counted as long as it is held."""
    holder: Holder | None = None
    is_held: bool = True
    """Whether the whole body is held in memory; of one that goes to the disk as it comes only what `hold` says is."""
    size: int = 0
    held: int = 0

    def __post_init__(self) -> None:
        self._digest = sha256()

    def take(self, chunk: bytes) -> None:
        """Count one chunk.

        Raises:
            Problem: If the body is longer than its limit, or there is no room for it.
        """
        self.size += len(chunk)
        if self.size > self.limit:
            raise Problem("body-too-large")
        if self.is_held:
            self.hold(len(chunk))
        if self.expected_sha256 is not None:
            self._digest.update(chunk)

    def hold(self, n_bytes: int) -> None:
        """Count bytes that are held in memory until the request is answered.

        Raises:
            Problem: If there is no room for them.
        """
        if self.budget is not None:
            self.budget.take(n_bytes, self.holder)
            self.held += n_bytes

    def finish(self) -> None:
        """Check the whole body.

        Raises:
            Problem: If its digest is not the one declared.
        """
        if self.expected_sha256 not in (None, self._digest.digest()):
            raise Problem("digest-mismatch")

    def release(self) -> None:
        """Let the body go: its request has been answered."""
        if self.budget is not None and self.held:
            self.budget.give_back(self.held, self.holder)
        self.held = 0


def limit_body(request: Request, limit: int) -> None:
    """Lower the limit of a body that is about to be read.

    Raises:
        Problem: If it declares to be longer.
    """
    meter: BodyMeter = request.state.body_meter
    meter.limit = min(meter.limit, limit)
    check_declared_length(request.headers, meter)


def check_declared_length(headers: Headers, meter: BodyMeter) -> None:
    """Refuse a body that says it is longer than it may be.

    Raises:
        Problem: `body-too-large`.
    """
    declared = headers.get("content-length", "0")
    if not declared.isascii() or not declared.isdigit() or int(declared[:20]) > meter.limit:
        raise Problem("body-too-large")
