"""Who is asking: keys in memory, the dashboard's cookie, and the roles.

Deny by default: every path but the few in `PUBLIC` needs a valid key before anything else is looked at. Keys are held
in memory and refreshed by the watcher, so checking one touches no database.
"""

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from urllib.parse import urlsplit

from sqlalchemy.orm import Session, sessionmaker
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope

from registry import keys
from registry.errors import DatabaseUnavailableError
from registry.keys import ActiveKey
from registry.tables import ROLES
from service.http.problems import Problem

PUBLIC = frozenset({"/", "/livez", "/readyz", "/v1/info", "/admin/login"})
PUBLIC_PREFIXES = ("/problems/", "/admin/static/")
COOKIE = "filopodia_session"
SESSION_S = 12 * 3600
"""How long a login to the dashboard lasts."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_REFRESH_S = 1.0
"""Shortest time between two looks for a key that is not known: a guesser costs one query a second."""


@dataclass(frozen=True)
class Principal:
    """The key a request was admitted with."""

    key_id: str
    name: str
    role: str

    def may(self, role: str) -> bool:
        """Return whether the key's role is at least `role`."""
        return ROLES.index(self.role) >= ROLES.index(role)


class KeyRing:
    """The valid keys, in memory."""

    def __init__(self, session_factory: sessionmaker[Session], session_secret: bytes) -> None:
        self._sessions = session_factory
        self._session_secret = session_secret
        self._active: Mapping[str, ActiveKey] = {}
        self._has_read = False
        self._looked_at = float("-inf")
        self._lock = Lock()

    def refresh(self) -> None:
        """Read the valid keys from the database; a revoked one stops working here.

        Raises:
            DatabaseUnavailableError: If it does not answer; the keys known before stay valid.
        """
        with self._sessions() as session:
            self._active = keys.active_keys(session)
        self._has_read = True
        self._looked_at = time.monotonic()

    def verify(self, text: str) -> Principal | None:
        """Return who this key is, or None."""
        key = keys.verify_key(text, self._active)
        return None if key is None else Principal(key.id, key.name, key.role)

    def find(self, text: str) -> Principal | None:
        """Like `verify`, but looks into the database for a key just created. Blocks.

        Raises:
            Problem: `storage-unavailable`, if no key could be read so far: nobody can say then that this one is wrong.
        """
        found = self.verify(text)
        if found is not None:
            return found
        with self._lock:
            if time.monotonic() - self._looked_at >= _REFRESH_S:
                try:
                    self.refresh()
                except DatabaseUnavailableError:
                    self._looked_at = time.monotonic()
            if not self._has_read:
                raise Problem("storage-unavailable")
        return self.verify(text)

    def session_cookie(self, principal: Principal) -> str:
        """Return the value of a cookie that stands for this key until it expires or the key is revoked."""
        stamp = f"{principal.key_id}.{int(time.time()) + SESSION_S}"
        return f"{stamp}.{self._sign(stamp, self._active[principal.key_id])}"

    def verify_cookie(self, value: str) -> Principal | None:
        """Return whose cookie this is, or None."""
        stamp, _, signature = value.rpartition(".")
        key_id, _, expires = stamp.partition(".")
        key = self._active.get(key_id)
        if key is None or not (expires.isascii() and expires.isdigit() and len(expires) < 12):
            return None
        expected = self._sign(stamp, key).encode()
        if not hmac.compare_digest(signature.encode("utf-8", "replace"), expected):
            return None
        return Principal(key.id, key.name, key.role) if int(expires) > time.time() else None

    async def admit(self, scope: Scope, headers: Headers) -> Principal | None:
        """Return who sends this request; None only on public paths.

        Raises:
            Problem: `unauthorized`; `csrf` for a change that another site makes with a browser's session;
                `storage-unavailable` as in `find`.
        """
        public = is_public(scope["path"])
        principal = await self._by_bearer(headers, in_memory=public)
        if principal is None and (cookie := cookie_parser(headers.get("cookie", "")).get(COOKIE)):
            principal = self._by_cookie(scope, headers, cookie)
        if principal is None and not public:
            raise Problem("unauthorized", headers={"WWW-Authenticate": 'Bearer realm="filopodia"'})
        return principal

    async def _by_bearer(self, headers: Headers, *, in_memory: bool) -> Principal | None:
        scheme, _, text = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not text:
            return None
        text = text.strip()
        found = self.verify(text)
        if found is not None or in_memory:
            return found
        return await run_in_threadpool(self.find, text)

    def _by_cookie(self, scope: Scope, headers: Headers, value: str) -> Principal | None:
        """Admit a browser session: for reading anywhere, for changes only under `/admin`."""
        principal = self.verify_cookie(value)
        if principal is None or scope["method"] in SAFE_METHODS:
            return principal
        if not scope["path"].startswith("/admin"):
            return None
        if not is_same_site(headers):
            raise Problem("csrf")
        return principal

    def _sign(self, stamp: str, key: ActiveKey) -> str:
        text = f"{stamp}.{key.secret_sha256}"
        return hmac.new(self._session_secret, text.encode(), hashlib.sha256).hexdigest()


def is_public(path: str) -> bool:
    """Return whether a path is answered without a key."""
    return path in PUBLIC or (path.startswith(PUBLIC_PREFIXES) and ".." not in path)


def is_same_site(headers: Headers) -> bool:
    """Return whether a browser says that one of our own pages sends this (OWASP: Fetch Metadata, then Origin)."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == headers.get("host")
