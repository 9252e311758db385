"""The sessions of browsers: a signed cookie that stands for a key until it expires, or somebody logs out.

A cookie needs no row. That it was ended is written down, as a hash, and read by all services on this database.
itsdangerous signs. When a cookie expires is our part of it, and not its timestamp: that would refuse a cookie from a
machine whose clock is a second ahead.
"""

import hashlib
import re
import secrets
import time
from collections.abc import Mapping
from datetime import datetime
from threading import Lock

from itsdangerous import BadSignature, Signer
from starlette.datastructures import Headers

from registry import sessions
from registry.keys import ActiveKey
from registry.postgres.database import Session, Sessions
from service.http.buckets import Buckets, too_many

COOKIE = "filopodia_session"
SESSION_S = 12 * 3600
"""How long a login to the dashboard lasts."""
SESSIONS_PER_MINUTE = 60
"""Sessions that may be opened with one key: each that is ended is remembered for a day."""
_COOKIE = re.compile(rf"(?:^|;)[ \t]*{COOKIE}=([^;]*)")
_VALUE = re.compile(
    r"(?P<key>[0-9a-f]{12})\.(?P<expires>[0-9]{1,11})\.[0-9a-f]{32}\.[A-Za-z0-9_-]{43}"
)


class BrowserSessions:
    """Makes cookies, reads them, and remembers those that were ended."""

    def __init__(self, session_factory: Sessions, secret: bytes) -> None:
        self._sessions = session_factory
        self._secret = secret
        self._opened = Buckets()
        self._ended: dict[str, datetime] = {}
        self._read_until: datetime | None = None
        self._lock = Lock()

    def open(self, key: ActiveKey) -> str:
        """Return the value of a new session's cookie.

        Raises:
            Problem: `rate-limited`, if too many sessions were opened with the key.
        """
        drawn = self._opened.draw(key.id, SESSIONS_PER_MINUTE, 1)
        if drawn.retry_after_s is not None:
            raise too_many("Too many sessions were opened with this key", drawn.retry_after_s)
        expires = int(time.time()) + SESSION_S
        return self._signer(key).sign(f"{key.id}.{expires}.{secrets.token_hex(16)}").decode()

    def read(self, value: str, active: Mapping[str, ActiveKey]) -> tuple[ActiveKey, str] | None:
        """Return the key that a cookie stands for, and the session's hash; None if it stands for none."""
        match = _VALUE.fullmatch(value)
        key = active.get(match["key"]) if match else None
        if match is None or key is None:
            return None
        try:
            signed = self._signer(key).unsign(value)
        except BadSignature:
            return None
        # Not of the whole value: one signature can be written in several ways, which are one session.
        session = hashlib.sha256(signed).hexdigest()
        is_open = not self.is_ended(session) and time.time() < int(match["expires"])
        return (key, session) if is_open else None

    def is_ended(self, session: str) -> bool:
        """Return whether somebody has logged out of a session, by its hash."""
        return session in self._ended

    def end(self, session: str) -> None:
        """Refuse a session's cookie from now on, here at once and in other processes within seconds. Blocks.

        Raises:
            DatabaseUnavailableError: If it could not be written down; the session goes on.
        """
        with self._sessions.begin() as database:
            ended_at = sessions.end(database, session)
        with self._lock:
            self._ended[session] = ended_at

    def refresh(self, database: Session) -> None:
        """Learn of sessions that were ended elsewhere, and forget those whose cookies have expired since."""
        newly_ended = sessions.ended_since(database, self._read_until)
        with self._lock:
            self._ended |= newly_ended
            self._read_until = max(newly_ended.values(), default=self._read_until)
            if self._read_until is not None:
                kept_from = self._read_until - sessions.KEPT
                oldest = next(iter(self._ended), None)
                while oldest is not None and self._ended[oldest] < kept_from:
                    del self._ended[oldest]
                    oldest = next(iter(self._ended), None)

    def _signer(self, key: ActiveKey) -> Signer:
        """Return who signs for this key, and for no other that might get its id."""
        return Signer(
            self._secret,
            salt=f"browser session of {key.secret_sha256}",
            key_derivation="hmac",
            digest_method=hashlib.sha256,
        )


def session_of(headers: Headers) -> str | None:
    """Return what the dashboard's cookie holds; of several, the last. Ours need no unquoting."""
    cookies = [value for header in headers.getlist("cookie") for value in _COOKIE.findall(header)]
    return cookies[-1].strip() if cookies else None
