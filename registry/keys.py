"""API keys `fil_<id>_<secret>`: created, listed, revoked, verified. The secret is shown once and kept as a hash."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.errors import KeyNotFoundError
from registry.tables import KeyRow

PREFIX = "fil"

FIRST_KEY_LOCK = 7_346_251_190_002
"""Key of the advisory lock on making the first key."""


@dataclass(frozen=True)
class ActiveKey:
    """What is needed to verify a key and to know what it allows."""

    id: str
    name: str
    role: str
    secret_sha256: str


def create_key(session: Session, name: str, role: str) -> tuple[KeyRow, str]:
    """Make a key.

    Args:
        session: Database session.
        name: What the key is for.
        role: One of `registry.tables.ROLES`.

    Returns:
        Its row, and the whole key: the only time it can be read.
    """
    key_id, secret = secrets.token_hex(6), secrets.token_hex(32)
    row = KeyRow(id=key_id, name=name, role=role, secret_sha256=_hash(secret))
    session.add(row)
    session.flush()
    session.refresh(row)
    return row, f"{PREFIX}_{key_id}_{secret}"


def create_first_admin_key(session: Session) -> str | None:
    """Add an admin key if there is none, and return it whole. Of several services that start at once, one gets it."""
    session.execute(select(func.pg_advisory_xact_lock(FIRST_KEY_LOCK)))
    if any(key.role == "admin" for key in active_keys(session).values()):
        return None
    return create_key(session, "first admin key", "admin")[1]


def list_keys(session: Session) -> list[KeyRow]:
    """Return all keys, also revoked ones, oldest first."""
    return list(session.scalars(select(KeyRow).order_by(KeyRow.created_at, KeyRow.id)))


def revoke_key(session: Session, key_id: str) -> KeyRow:
    """Make a key useless from now on; a no-op if it is already.

    Raises:
        KeyNotFoundError: If there is none with this id.
    """
    row = session.get(KeyRow, key_id, with_for_update=True)
    if row is None:
        raise KeyNotFoundError(key_id)
    if row.revoked_at is None:
        row.revoked_at = func.now()
        session.flush()
        session.refresh(row)
    return row


def active_keys(session: Session) -> dict[str, ActiveKey]:
    """Return all keys that are not revoked, by id: what the service keeps in memory to verify with."""
    rows = session.scalars(select(KeyRow).where(KeyRow.revoked_at.is_(None)))
    return {row.id: ActiveKey(row.id, row.name, row.role, row.secret_sha256) for row in rows}


def verify_key(text: str, active: Mapping[str, ActiveKey]) -> ActiveKey | None:
    """Return the active key that `text` is, or None. Takes the same time for every wrong secret."""
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    key = active.get(key_id)
    if prefix != PREFIX or key is None:
        return None
    return key if hmac.compare_digest(_hash(secret), key.secret_sha256) else None


def _hash(secret: str) -> str:
    # 256 random bits need no slow hash. Odd characters of a wrong key must not raise.
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
