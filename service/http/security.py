"""Who is asking: keys in memory, the dashboard's cookie, and the roles.

Deny by default: every route but the few that declare `is_public` needs a valid key before anything else is looked at.
Keys are held in memory and refreshed by the watcher, so checking one touches no database. A key that is limited to
some learners carries its scope on the `Principal`; `service.dependencies.get_context` keeps it.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from threading import Lock
from urllib.parse import urlsplit

from anyio import CapacityLimiter, to_thread
from starlette.datastructures import Headers
from starlette.types import Scope

from registry import keys
from registry.errors import DatabaseUnavailableError
from registry.keys import ActiveKey
from registry.postgres.database import Sessions
from registry.scopes import limited_to
from registry.tables import ROLES
from service.http.browser_sessions import COOKIE as COOKIE
from service.http.browser_sessions import BrowserSessions, session_of
from service.http.buckets import Buckets, Guesses
from service.http.demands import Demands
from service.problems import Problem

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
WRONG_KEYS_PER_MINUTE = 1000
"""From one address, before they are refused unseen. High: a program with an old key asks often, and guessing one of
2^256 is hopeless anyway; it only bounds what guessers cost."""
LOGINS_PER_MINUTE = 10
"""Wrong keys that the login page takes from one address."""
UNREAD_LOGINS_PER_MINUTE = 60
"""Failed logins from one address after which none is read any more, right or wrong: no person fails that often."""
USED_EVERY_S = 60.0
"""Seconds between two writings of when keys were last used."""
SCOPES = 256
"""Sets of learners whose sessions are kept ready."""
FINDING_THREADS = 4
"""For keys that are not known: they wait for a database that does not answer, and must not take the threads of those
who have a key."""
_REFRESH_S = 1.0
"""Seconds after which a key that is not known leads to another look at all keys."""
LOOKED_UP_PER_MINUTE = 600
"""Keys that are not known and come sooner than that, of which each is looked up by itself: another service may have
made it a moment ago. Guessers get no more out of it than that; chosen, untested."""


@dataclass(frozen=True)
class Principal:
    """The key a request was admitted with."""

    key_id: str
    name: str
    role: str
    learners: Mapping[str, str] | None = field(default=None, hash=False)
    """Ids, by name, of the only learners it may see and use; None is all of them."""
    quotas: Mapping[str, int | None] = field(default_factory=dict, hash=False)
    session: str | None = field(default=None, compare=False)
    """Hash of the browser session that the request came with; None for one with the key itself."""

    @property
    def sees_everything(self) -> bool:
        """Whether the key is not limited to some learners."""
        return self.learners is None

    def sees(self, learner: str) -> bool:
        """Return whether there is a learner of this name for the key, if there is one at all."""
        return self.learners is None or learner in self.learners

    def may(self, role: str) -> bool:
        """Return whether the key's role is at least `role`."""
        return ROLES.index(self.role) >= ROLES.index(role)


class KeyRing:
    """The valid keys, in memory."""

    def __init__(self, session_factory: Sessions, session_secret: bytes) -> None:
        self._sessions = session_factory
        self._browsers = BrowserSessions(session_factory, session_secret)
        self._active: Mapping[str, ActiveKey] = {}
        self._good_until: Mapping[str, float] = {}
        self._used: dict[str, float] = {}
        self._used_written_at = float("-inf")
        self._has_read = False
        self._looked_at = float("-inf")
        self._looked_up = Buckets()
        self._is_answered = True
        """Whether the database answered when a key that was not known was last looked for."""
        self._lock = Lock()
        self._reading = Lock()
        """Held from before keys are read until they are taken over: what was read first does not replace the later."""
        self._finding = CapacityLimiter(FINDING_THREADS)
        self._limited = lru_cache(maxsize=SCOPES)(self._limit)
        self.wrong_keys = Guesses(WRONG_KEYS_PER_MINUTE)
        self.failed_logins = Guesses(LOGINS_PER_MINUTE)
        self.unread_logins = Guesses(UNREAD_LOGINS_PER_MINUTE)

    def refresh(self) -> None:
        """Read the valid keys from the database; a revoked one stops working here.

        Raises:
            DatabaseUnavailableError: If it does not answer; the keys known before stay valid until they expire.
        """
        with self._reading:
            asked_at = time.monotonic()
            with self._sessions() as session:
                active = keys.active_keys(session)
                self._browsers.refresh(session)
            # By the database's clock and our stopwatch: what time this machine thinks it is does not matter.
            self._good_until = {
                key.id: asked_at + key.expires_in_s
                for key in active.values()
                if key.expires_in_s is not None
            }
            self._active = active
            self._has_read = True
            self._looked_at = time.monotonic()

    def verify(self, text: str) -> Principal | None:
        """Return who this key is, or None."""
        key = keys.verify_key(text, self._active)
        return None if key is None else self._principal(key)

    def find_by_id(self, key_id: str) -> Principal | None:
        """Return who the key of this id is; None if it is not valid any more. Blocks: another service may have made it.

        Raises:
            DatabaseUnavailableError: If the database is to be asked and does not answer.
        """
        if key_id not in self._active:
            self.refresh()
        key = self._active.get(key_id)
        return None if key is None else self._principal(key)

    def any_admin(self) -> Principal | None:
        """Return an admin key, one that does not expire if there is one; None if there is no admin key."""
        admins = [key for key in self._active.values() if key.role == "admin"]
        admins.sort(key=lambda key: (key.expires_in_s is not None, key.id))
        return next(filter(None, map(self._principal, admins)), None)

    def is_valid(self, principal: Principal) -> bool:
        """Return whether the key of a request that was admitted still is."""
        is_ended = principal.session is not None and self._browsers.is_ended(principal.session)
        return (
            not is_ended and principal.key_id in self._active and self._is_in_time(principal.key_id)
        )

    def write_used(self, *, at_once: bool = False) -> None:
        """Write down when keys were last used, if it was not done within a minute. Blocks.

        Raises:
            DatabaseUnavailableError: If the database does not answer; it is written another time.
        """
        now = time.monotonic()
        if not self._used or (now - self._used_written_at < USED_EVERY_S and not at_once):
            return
        used = dict(self._used)
        with self._sessions.begin() as session:
            keys.note_used(session, {key_id: now - at for key_id, at in used.items()})
        self._used_written_at = now
        for key_id, at in used.items():
            if self._used.get(key_id) == at:
                self._used.pop(key_id, None)

    def sessions_of(self, principal: Principal) -> Sessions:
        """Return the sessions in which a key sees what it may see."""
        if principal.learners is None:
            return self._sessions
        return self._limited(frozenset(principal.learners.values()))

    def find(self, text: str) -> Principal | None:
        """Like `verify`, but looks into the database for a key just created. Blocks.

        Raises:
            Problem: `storage-unavailable`, if no key could be read so far: nobody can say then that this one is wrong.
        """
        principal = self.verify(text)
        if principal is not None:
            return principal
        with self._lock:
            is_due = time.monotonic() - self._looked_at >= _REFRESH_S
            try:
                if is_due or (self._is_answered and self._is_new(text)):
                    self.refresh()
                    self._is_answered = True
            except DatabaseUnavailableError:
                self._looked_at, self._is_answered = time.monotonic(), False
            if not self._has_read:
                raise Problem("storage-unavailable")
        return self.verify(text)

    def _is_new(self, text: str) -> bool:
        """Return whether a key that is not known is right all the same."""
        if self._looked_up.draw("unknown", LOOKED_UP_PER_MINUTE, 1).retry_after_s is not None:
            return False
        with self._sessions() as session:
            return keys.is_active(session, text)

    def session_cookie(self, principal: Principal) -> str:
        """Return the value of a cookie that stands for this key until it expires, is ended, or the key is revoked.

        Raises:
            Problem: `rate-limited`, if too many sessions were opened with the key.
        """
        return self._browsers.open(self._active[principal.key_id])

    def verify_cookie(self, value: str) -> Principal | None:
        """Return whose cookie this is, or None."""
        signed = self._browsers.read(value, self._active)
        principal = None if signed is None else self._principal(signed[0])
        return (
            None if signed is None or principal is None else replace(principal, session=signed[1])
        )

    def end_session(self, principal: Principal) -> None:
        """Refuse the cookie that a request came with from now on. Blocks.

        Raises:
            DatabaseUnavailableError: If it could not be written down; the session goes on.
        """
        if principal.session is not None:
            self._browsers.end(principal.session)

    async def admit(self, scope: Scope, headers: Headers, demands: Demands) -> Principal | None:
        """Return who sends this request; None only on public routes.

        Raises:
            Problem: `unauthorized`; `rate-limited` after too many wrong keys from one address; `csrf` for a change that
                another site makes with a browser's session, or a login; `storage-unavailable` as in `find`.
        """
        public = demands.is_public
        if demands.logs_in:
            if not is_same_site(headers):
                raise Problem("csrf")
            self.unread_logins.require_left(client_address(scope))
        principal = await self._by_bearer(scope, headers, in_memory=public)
        if principal is None and (cookie := session_of(headers)):
            principal = self._by_cookie(scope, headers, cookie)
        if principal is None and not public:
            raise unauthorized()
        if principal is not None:
            self._used[principal.key_id] = time.monotonic()
        return principal

    def find_guess(self, text: str, address: str, guesses: Guesses) -> Principal | None:
        """Like `find`, but bounds the wrong keys that come from an address. A key known to be right always passes.

        Raises:
            Problem: `rate-limited`; `storage-unavailable` as in `find`.
        """
        principal = self.verify(text)
        if principal is None:
            guesses.require_left(address)
            principal = self.find(text)
        if principal is None:
            guesses.count(address)
        return principal

    def find_login(self, text: str, address: str) -> Principal | None:
        """Like `find_guess`, for the login page.

        Raises:
            Problem: `rate-limited`; `storage-unavailable` as in `find`.
        """
        principal = self.verify(text)
        if principal is None:
            self.unread_logins.count(address)
            principal = self.find_guess(text, address, self.failed_logins)
        return principal

    def fail_login(self, address: str) -> None:
        """Note a login by a link that does not work.

        Raises:
            Problem: `rate-limited`, if there were too many from this address.
        """
        self.unread_logins.count(address)
        self.failed_logins.require_left(address)
        self.failed_logins.count(address)

    async def _by_bearer(
        self, scope: Scope, headers: Headers, *, in_memory: bool
    ) -> Principal | None:
        scheme, _, text = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not text:
            return None
        text = text.strip()
        principal = self.verify(text)
        if principal is not None or in_memory:
            return principal
        return await to_thread.run_sync(
            self.find_guess, text, client_address(scope), self.wrong_keys, limiter=self._finding
        )

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

    def _principal(self, key: ActiveKey) -> Principal | None:
        if not self._is_in_time(key.id):
            return None
        return Principal(key.id, key.name, key.role, key.learners, key.quotas)

    def _is_in_time(self, key_id: str) -> bool:
        return time.monotonic() < self._good_until.get(key_id, float("inf"))

    def _limit(self, learner_ids: frozenset[str]) -> Sessions:
        return limited_to(self._sessions, learner_ids)


def unauthorized() -> Problem:
    """Return the problem of a request without a valid key."""
    return Problem("unauthorized", headers={"WWW-Authenticate": 'Bearer realm="filopodia"'})


def client_address(scope: Scope) -> str:
    """Return where a request comes from; through a trusted proxy, where that says it does."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def is_same_site(headers: Headers) -> bool:
    """Return whether a browser says that one of our own pages sends this (OWASP: Fetch Metadata, then Origin)."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == headers.get("host")
