"""Making and revoking API keys: each with its note in the audit log, in the caller's transaction."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from registry import audit, keys
from registry.audit import Actor
from registry.postgres.database import Session
from registry.tables import KeyRow
from service.problems import Problem


def create_key(
    session: Session,
    actor: Actor,
    name: str,
    role: str,
    *,
    learners: Sequence[str] | None,
    expires_at: datetime | None,
    quotas: Mapping[str, int | None] | None = None,
) -> tuple[KeyRow, str]:
    """Create a key, and return its row and its secret, which is readable only now. Arguments as in `registry.keys`.

    Raises:
        InvalidKeyError: If no such key can be.
    """
    row, secret = keys.create_key(
        session, name, role, learners=learners, expires_at=expires_at, quotas=quotas
    )
    details = {
        "name": row.name,
        "role": row.role,
        "learners": None if learners is None else list(learners),
        "expires_at": None if row.expires_at is None else row.expires_at.isoformat(),
        "quotas": row.quotas,
    }
    audit.record(session, actor, "key.create", subject=row.id, details=details)
    return row, secret


def set_quotas(
    session: Session, actor: Actor, key_id: str, quotas: Mapping[str, int | None]
) -> KeyRow:
    """Give a key other quotas, and return its row.

    Raises:
        KeyNotFoundError: If there is none.
    """
    before = keys.get_quotas(session, key_id)
    row = keys.set_quotas(session, key_id, quotas)
    details = {"name": row.name, "quotas": {"before": before, "after": row.quotas}}
    audit.record(session, actor, "key.update", subject=row.id, details=details)
    return row


def revoke_key(session: Session, actor: Actor, key_id: str) -> KeyRow:
    """Revoke a key, and return its row.

    Raises:
        KeyNotFoundError: If there is none.
        Problem: `last-admin-key`, if no admin key would be left, or only ones that expire.
    """
    row = keys.revoke_key(session, key_id)
    if not keys.has_lasting_admin(session):
        raise Problem("last-admin-key")
    details = {"name": row.name, "role": row.role}
    audit.record(session, actor, "key.revoke", subject=row.id, details=details)
    return row
