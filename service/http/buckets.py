"""Token buckets in memory: a minute's worth may come at once, then as much as flows in."""

import math
import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from threading import Lock

from service.problems import Problem

WINDOW_S = 60
ROUNDING = 1e-6
"""Part of a token that sums of floating-point numbers may be short of; whoever waits as told must not miss by it."""
MAX_BUCKETS = 10_000
"""Buckets that are remembered; the one that was used longest ago is forgotten first, and full again then."""


@dataclass
class Level:
    """How full a bucket is, and when that was."""

    tokens: float
    at: float


@dataclass(frozen=True)
class Drawn:
    """What came of drawing from a bucket."""

    per_minute: int
    tokens: float
    """What is left; below 0 after a request that was larger than what was there."""
    retry_after_s: int | None = None
    """Seconds to wait if it was refused."""

    @property
    def full_in_s(self) -> int:
        """Seconds until the bucket is full again."""
        return _seconds(self.per_minute - self.tokens, self.per_minute)


class Buckets:
    """One bucket for each owner."""

    def __init__(self) -> None:
        self._levels: OrderedDict[Hashable, Level] = OrderedDict()
        self._lock = Lock()

    def draw(self, owner: Hashable, per_minute: int, tokens: int, *, already: int = 0) -> Drawn:
        """Take tokens out, or say how long to wait.

        A request that is larger than the bucket passes if the bucket is full, and owes the rest. One that is refused
        costs nothing.

        Args:
            owner: Whose bucket.
            per_minute: What flows in within a minute, and what the bucket holds.
            tokens: What to take out.
            already: What the same request has taken out before.
        """
        with self._lock:
            level = self._level(owner, per_minute)
            needed = max(0, min(tokens, per_minute - already))
            if per_minute > 0 and level.tokens >= needed - ROUNDING:
                level.tokens -= tokens
                return Drawn(per_minute, level.tokens)
            # The next try draws again what this one has drawn before, which a refusal must not cost.
            level.tokens = min(float(per_minute), level.tokens + already)
            wait_s = max(1, _seconds(needed + already - level.tokens, per_minute))
            return Drawn(per_minute, level.tokens, wait_s)

    def _level(self, owner: Hashable, per_minute: int) -> Level:
        now = time.monotonic()
        level = self._levels.setdefault(owner, Level(float(per_minute), now))
        self._levels.move_to_end(owner)
        if len(self._levels) > MAX_BUCKETS:
            self._levels.popitem(last=False)
        flowed_in = (now - level.at) * per_minute / WINDOW_S
        level.tokens, level.at = min(float(per_minute), level.tokens + flowed_in), now
        return level


@dataclass(frozen=True)
class Guesses:
    """Wrong keys by the address they come from. Nobody looks at it for a key that is right and known."""

    per_minute: int
    _buckets: Buckets = field(default_factory=Buckets, init=False)

    def require_left(self, address: str) -> None:
        """Refuse to look for a key that is not known, when too many wrong ones came from an address.

        Raises:
            Problem: `rate-limited`.
        """
        drawn = self._buckets.draw(network_of(address), self.per_minute, 0)
        if drawn.tokens < 1 - ROUNDING:
            wait_s = max(1, _seconds(1 - drawn.tokens, self.per_minute))
            raise too_many("Too many wrong keys came from this address", wait_s)

    def count(self, address: str) -> None:
        """Note a wrong key."""
        self._buckets.draw(network_of(address), self.per_minute, 1)


WAIT = ": wait as long as Retry-After says."
"""How what such a problem says ends; pages say how long that is."""


def too_many(reason: str, wait_s: int) -> Problem:
    """Return the problem of whoever has to wait."""
    detail = f"{reason}{WAIT}"
    return Problem("rate-limited", detail, headers={"Retry-After": str(max(1, wait_s))})


def _seconds(tokens: float, per_minute: int) -> int:
    """Return how long tokens take to flow in; an hour where none ever do."""
    return math.ceil(tokens * WINDOW_S / per_minute - ROUNDING) if per_minute else 3600


def network_of(address: str) -> str:
    """Return what one guesser has: an IPv4 address, or the 64 bits of an IPv6 one that a provider gives away."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:100]
    return ip.exploded[:19] if isinstance(ip, IPv6Address) else str(ip)
