"""API keys `fil_<id>_<secret>`: created, listed, revoked, verified. The secret is shown once and kept as a hash.

A key may be limited to some learners, expire, and have quotas of its own in `keys.quotas`: any of `QUOTAS`, each a
number or null for no limit. Where it has none, the installation's settings of the same names hold.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session

from registry import audit
from registry.errors import InvalidKeyError, KeyNotFoundError
from registry.tables import KeyRow, LearnerRow, TaskRow

PREFIX = "fil"
_WHOLE = re.compile(rf"{PREFIX}_(?P<id>[0-9a-f]{{12}})_(?P<secret>[0-9a-f]{{64}})")
DAY = timedelta(days=1)
QUOTAS = ("predict_images_per_minute", "changes_per_minute", "tasks_per_day", "images_per_day")
"""What a key may be limited in."""

FIRST_KEY_LOCK = 7_346_251_190_002
"""Key of the advisory lock on making the first key."""


@dataclass(frozen=True)
class ActiveKey:
    """What is needed to verify a key and to know what it allows."""

    id: str
    name: str
    role: str
    secret_sha256: str
    learners: Mapping[str, str] | None = None
    """Ids, by name, of the only learners it may see and use; None is all of them."""
    quotas: Mapping[str, int | None] = field(default_factory=dict)
    expires_in_s: float | None = None
    """Seconds it was still good for, by the database's clock, when it was read; None is for ever."""


@dataclass(frozen=True)
class DayUse:
    """What was posted with a key within the last 24 hours."""

    n_tasks: int
    n_images: int
    frees_in_s: float
    """Seconds until the oldest of these tasks no longer counts; 0 if there is none."""


def create_key(
    session: Session,
    name: str,
    role: str,
    *,
    learners: Sequence[str] | None = None,
    expires_at: datetime | None = None,
    quotas: Mapping[str, int | None] | None = None,
    given: re.Match[str] | None = None,
) -> tuple[KeyRow, str]:
    """Make a key.

    Args:
        session: Database session.
        name: What the key is for.
        role: One of `registry.tables.ROLES`.
        learners: Names of the only learners it may see and use; None is all of them. It stays with these: a learner
            that is created later under the same name is another one.
        expires_at: When it stops working.
        quotas: Where its limits differ from the installation's: any of `QUOTAS`.
        given: A whole key that nobody has used yet, in the place of a new one.

    Returns:
        Its row, and the whole key: the only time it can be read.

    Raises:
        InvalidKeyError: If an admin key is to be limited, a learner does not exist, or the time is over already.
    """
    learner_ids = None if learners is None else _learner_ids(session, role, learners)
    if expires_at is not None and not session.scalars(select(expires_at > func.now())).one():
        raise InvalidKeyError("expires_at", "This time is over already.")
    key_id, secret = given.groups() if given else (secrets.token_hex(6), secrets.token_hex(32))
    row = KeyRow(
        id=key_id,
        name=name,
        role=role,
        secret_sha256=_hash(secret),
        learner_ids=learner_ids,
        expires_at=expires_at,
        quotas=dict(quotas or {}),
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return row, f"{PREFIX}_{key_id}_{secret}"


def create_first_admin_key(session: Session, proposed: str | None = None) -> str | None:
    """Add an admin key if there is none, and return it whole. Of several services that start at once, one gets it.

    Args:
        session: Database session.
        proposed: What is to be the key, if it is a whole one that was never known here.
    """
    session.execute(select(func.pg_advisory_xact_lock(FIRST_KEY_LOCK)))
    if any(key.role == "admin" for key in active_keys(session).values()):
        return None
    given = _WHOLE.fullmatch(proposed or "")
    if given is not None and session.get(KeyRow, given["id"]) is not None:
        given = None  # it was revoked, and stays so
    row, key = create_key(session, "first admin key", "admin", given=given)
    details = {"name": row.name, "role": row.role}
    audit.record(session, None, "key.create", subject=row.id, details=details)
    return key


def list_keys(session: Session) -> list[KeyRow]:
    """Return all keys, also revoked ones, oldest first."""
    return list(session.scalars(select(KeyRow).order_by(KeyRow.created_at, KeyRow.id)))


def learner_names(session: Session, rows: Collection[KeyRow]) -> dict[str, str]:
    """Return the names, by id, of the learners that some keys are limited to. Those deleted since are left out."""
    ids = {learner_id for row in rows for learner_id in row.learner_ids or ()}
    if not ids:
        return {}
    query = select(LearnerRow.id, LearnerRow.name).where(LearnerRow.id.in_(ids))
    return {row.id: row.name for row in session.execute(query)}


def names_of(session: Session, key_ids: Collection[str | None]) -> dict[str, str]:
    """Return the names, by id, of some keys; also of revoked ones."""
    query = select(KeyRow.id, KeyRow.name).where(KeyRow.id.in_([one for one in key_ids if one]))
    return {row.id: row.name for row in session.execute(query)}


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


def get_quotas(session: Session, key_id: str) -> dict[str, int | None]:
    """Return the quotas that a key has of its own.

    Raises:
        KeyNotFoundError: If there is none with this id.
    """
    row = session.get(KeyRow, key_id, with_for_update=True)
    if row is None:
        raise KeyNotFoundError(key_id)
    return dict(row.quotas)


def set_quotas(session: Session, key_id: str, quotas: Mapping[str, int | None]) -> KeyRow:
    """Give a key other quotas, in the place of all that it had: those of the installation hold where it has none.

    Raises:
        KeyNotFoundError: If there is none with this id.
    """
    row = session.get(KeyRow, key_id, with_for_update=True)
    if row is None:
        raise KeyNotFoundError(key_id)
    row.quotas = dict(quotas)
    session.flush()
    return row


def is_active(session: Session, text: str) -> bool:
    """Return whether a whole key is right, neither revoked nor expired. One row is read at most."""
    whole = _WHOLE.fullmatch(text)
    if whole is None:
        return False
    query = select(KeyRow.secret_sha256).where(KeyRow.id == whole["id"], *_active())
    digest = session.scalars(query).one_or_none()
    return digest is not None and hmac.compare_digest(_hash(whole["secret"]), digest)


def active_keys(session: Session) -> dict[str, ActiveKey]:
    """Return all keys that are neither revoked nor expired, by id: what the service keeps in memory to verify with."""
    left_s = func.extract("epoch", KeyRow.expires_at - func.now())
    rows = session.execute(select(KeyRow, left_s).where(*_active())).all()
    names = learner_names(session, [row for row, _ in rows])
    return {row.id: _as_active(row, expires_in_s, names) for row, expires_in_s in rows}


def has_lasting_admin(session: Session) -> bool:
    """Return whether there is an admin key that does not expire by itself."""
    keys = active_keys(session).values()
    return any(key.role == "admin" and key.expires_in_s is None for key in keys)


def note_used(session: Session, ages_s: Mapping[str, float]) -> None:
    """Note when keys were last used: how many seconds ago each."""
    # In one order: two services must not lock crosswise.
    for key_id, age_s in sorted(ages_s.items()):
        used_at = func.now() - timedelta(seconds=age_s)
        # `greatest` ignores null.
        latest = func.greatest(KeyRow.last_used_at, used_at)
        session.execute(update(KeyRow).where(KeyRow.id == key_id).values(last_used_at=latest))


def day_use(session: Session, key_id: str) -> DayUse:
    """Return what was posted with a key within the last 24 hours, by all services on this database. One query."""
    oldest = func.extract("epoch", func.min(TaskRow.created_at) + DAY - func.now())
    images = func.coalesce(func.sum(TaskRow.n_train + TaskRow.n_eval), 0)
    query = select(func.count(), images, func.coalesce(oldest, 0)).where(
        TaskRow.key_id == key_id, TaskRow.created_at > func.now() - DAY
    )
    n_tasks, n_images, frees_in_s = session.execute(query).one()
    return DayUse(n_tasks, int(n_images), float(frees_in_s))


def day_uses(session: Session) -> dict[str, DayUse]:
    """Return what was posted within the last 24 hours with each key that has posted something. One query."""
    oldest = func.extract("epoch", func.min(TaskRow.created_at) + DAY - func.now())
    images = func.coalesce(func.sum(TaskRow.n_train + TaskRow.n_eval), 0)
    query = (
        select(TaskRow.key_id, func.count(), images, oldest)
        .where(TaskRow.key_id.is_not(None), TaskRow.created_at > func.now() - DAY)
        .group_by(TaskRow.key_id)
    )
    return {
        str(key_id): DayUse(n_tasks, int(n_images), float(frees_in_s))
        for key_id, n_tasks, n_images, frees_in_s in session.execute(query)
    }


NOT_USED = DayUse(0, 0, 0.0)
"""Of a key with which nothing was posted."""


def verify_key(text: str, active: Mapping[str, ActiveKey]) -> ActiveKey | None:
    """Return the active key that `text` is, or None. Takes the same time for every wrong secret."""
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    key = active.get(key_id)
    if prefix != PREFIX or key is None:
        return None
    return key if hmac.compare_digest(_hash(secret), key.secret_sha256) else None


def _active() -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    in_time = or_(KeyRow.expires_at.is_(None), KeyRow.expires_at > func.now())
    return KeyRow.revoked_at.is_(None), in_time


def _learner_ids(session: Session, role: str, names: Sequence[str]) -> list[str]:
    if role == "admin":
        raise InvalidKeyError("learners", "An admin key cannot be limited to some learners.")
    query = select(LearnerRow.name, LearnerRow.id).where(LearnerRow.name.in_(names))
    ids = {row.name: row.id for row in session.execute(query)}
    for index, name in enumerate(names):
        if name not in ids:
            raise InvalidKeyError(f"learners/{index}", "There is no learner of this name.")
    return sorted(set(ids.values()))


def _as_active(row: KeyRow, expires_in_s: Any, names: Mapping[str, str]) -> ActiveKey:
    ids = row.learner_ids
    return ActiveKey(
        id=row.id,
        name=row.name,
        role=row.role,
        secret_sha256=row.secret_sha256,
        learners=None if ids is None else {names[id_]: id_ for id_ in ids if id_ in names},
        quotas=row.quotas,
        expires_in_s=None if expires_in_s is None else float(expires_in_s),
    )


def _hash(secret: str) -> str:
    # 256 random bits need no slow hash. Odd characters of a wrong key must not raise.
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
