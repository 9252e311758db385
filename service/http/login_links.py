"""Links that log a browser in, once: what stands in them, and for whom.

A link stands for a key and can do what that key can, so it is made only for who has the key, or owns the service. The
database keeps it, as a hash, until it is used or too old, so that every service on it takes the links of all.
"""

import hashlib
import re
import secrets

from registry import login_links
from registry.postgres.database import Sessions

ENTRY = "/admin/enter"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


class LoginLinks:
    """The links that were not used yet."""

    lifetime_s = login_links.LIFETIME.total_seconds()

    def __init__(self, session_factory: Sessions) -> None:
        self._sessions = session_factory

    def make(self, key_id: str) -> str:
        """Return the path of a new link that logs in with this key. Blocks.

        Raises:
            DatabaseUnavailableError: If it could not be written down.
        """
        token = secrets.token_urlsafe(32)
        with self._sessions.begin() as session:
            login_links.add(session, _hash(token), key_id)
        return f"{ENTRY}?token={token}"

    def use(self, token: str) -> str | None:
        """Return the id of the key a link stands for, this once; None if it is none, was used, or is too old. Blocks.

        Raises:
            DatabaseUnavailableError: If the database does not answer; the link is not used up.
        """
        if not _TOKEN.fullmatch(token):
            return None
        with self._sessions.begin() as session:
            return login_links.take(session, _hash(token))


def _hash(token: str) -> str:
    # 256 random bits need no slow hash, and looking a hash up tells nothing of the token by its time.
    return hashlib.sha256(token.encode()).hexdigest()
