"""The audit log: who changed what, before and after, in which request.

A row is written in the transaction that changes, so there is neither a change without a row nor a row without a change.
The database refuses to alter or remove one. Names and numbers stand in it; secrets, images and what users wrote do not.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.paging import Page, decode_number, page_of
from registry.tables import AuditRow

LOCAL = "local"
"""Name under which the command line on the machine itself acts; it needs no key."""


@dataclass(frozen=True)
class Actor:
    """Who changes something, and in which request."""

    key_id: str | None
    key_name: str
    request_id: str | None


def record(
    session: Session,
    actor: Actor | None,
    action: str,
    *,
    learner: str | None = None,
    subject: str,
    details: dict[str, Any] | None = None,
) -> None:
    """Note a change in the transaction that makes it.

    Args:
        session: Database session.
        actor: Who changes it; None is the command line on the machine itself.
        action: What is done, such as `learner.delete`.
        learner: Name of the learner it is done to.
        subject: What it is done to: a name or an id.
        details: What changes, before and after; names, numbers and switches only.
    """
    actor = actor or Actor(None, LOCAL, None)
    session.add(
        AuditRow(
            key_id=actor.key_id,
            key_name=actor.key_name,
            action=action,
            learner=learner,
            subject=subject,
            details=details or {},
            request_id=actor.request_id,
        )
    )
    session.flush()


@dataclass(frozen=True)
class Named:
    """What the newest entries name: by what they can be chosen."""

    learners: list[str]
    actions: list[str]
    keys: dict[str, str]
    """Names of keys by their ids."""


def named(session: Session, *, newest: int = 10_000, most: int = 200) -> Named:
    """Return what the newest entries name, in order of the alphabet.

    Args:
        session: Database session.
        newest: Entries that are looked at: a log grows for years, and this is asked for by each look at its page.
        most: Of each kind.
    """
    recent = select(AuditRow).order_by(AuditRow.seq.desc()).limit(newest).subquery()

    def distinct(column: Any) -> list[Any]:
        query = select(column).where(column.is_not(None)).distinct().order_by(column).limit(most)
        return list(session.scalars(query))

    keys = select(recent.c.key_id, recent.c.key_name).where(recent.c.key_id.is_not(None))
    rows = session.execute(keys.distinct().order_by(recent.c.key_name).limit(most))
    return Named(
        distinct(recent.c.learner), distinct(recent.c.action), {row[0]: row[1] for row in rows}
    )


def list_audit(
    session: Session,
    *,
    key_id: str | None = None,
    learner: str | None = None,
    action: str | None = None,
    since: datetime | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[AuditRow]:
    """Return a page of the log, newest first.

    Args:
        session: Database session.
        key_id: Only what was done with this key.
        learner: Only what was done to the learner of this name, also to one that is gone.
        action: Only this action.
        since: Only what was done at or after this time.
        limit: Most items in the page.
        cursor: `next_cursor` of the page before.

    Raises:
        InvalidCursorError: If the cursor is not one of ours.
    """
    query = select(AuditRow)
    if key_id is not None:
        query = query.where(AuditRow.key_id == key_id)
    if learner is not None:
        query = query.where(AuditRow.learner == learner)
    if action is not None:
        query = query.where(AuditRow.action == action)
    if since is not None:
        query = query.where(AuditRow.created_at >= since)
    if cursor is not None:
        query = query.where(AuditRow.seq < decode_number(cursor))
    rows = session.scalars(query.order_by(AuditRow.seq.desc()).limit(limit + 1))
    return page_of(list(rows), limit, lambda row: (str(row.seq),))
