"""Links that log a browser in, once: what stands in them, and for whom.

A link stands for a key and can do what that key can, so it is made only for who has the key, or owns the service. It is
kept in memory, as a hash, until it is used, too old, or the process ends.
"""

import hashlib
import secrets
import time
from collections import OrderedDict
from threading import Lock

LIFETIME_S = 600
"""Enough to read a terminal and open a browser."""
MOST = 100
"""Links that wait to be used; the oldest give way."""
ENTRY = "/admin/enter"


class LoginLinks:
    """The links of this process that were not used yet."""

    def __init__(self, lifetime_s: float = LIFETIME_S) -> None:
        self.lifetime_s = lifetime_s
        self._waiting: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._lock = Lock()

    def make(self, key_id: str) -> str:
        """Return the path of a new link that logs in with this key."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._waiting[_hash(token)] = key_id, time.monotonic() + self.lifetime_s
            while len(self._waiting) > MOST:
                self._waiting.popitem(last=False)
        return f"{ENTRY}?token={token}"

    def use(self, token: str) -> str | None:
        """Return the id of the key a link stands for, this once; None if it was used, is too old, or never was one."""
        with self._lock:
            key_id, until = self._waiting.pop(_hash(token), ("", 0.0))
        return key_id if time.monotonic() < until else None


def _hash(token: str) -> str:
    # 256 random bits need no slow hash, and looking a hash up tells nothing of the token by its time.
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
