"""Browser sessions that somebody has logged out of, by the SHA-256 of their cookie.

All others need no row. One is remembered until its cookie would have expired anyway.
"""

from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.tables import EndedSessionRow

KEPT = timedelta(hours=24)
"""Twice as long as a session lasts: clocks may differ."""
OVERLAP = timedelta(minutes=1)
"""A transaction may have committed after a later one was read; none takes so long."""


def end(session: Session, session_sha256: str) -> datetime:
    """Note that a session has ended, and return when; a no-op if it had already."""
    row = insert(EndedSessionRow).values(session_sha256=session_sha256)
    session.execute(row.on_conflict_do_nothing())
    query = select(EndedSessionRow.ended_at)
    return session.scalars(query.where(EndedSessionRow.session_sha256 == session_sha256)).one()


def ended_since(session: Session, since: datetime | None) -> dict[str, datetime]:
    """Return which sessions ended and when, oldest first: all that are remembered, or those not long before `since`."""
    start = func.now() - KEPT if since is None else since - OVERLAP
    query = select(EndedSessionRow).where(EndedSessionRow.ended_at > start)
    rows = session.scalars(query.order_by(EndedSessionRow.ended_at))
    return {row.session_sha256: row.ended_at for row in rows}


def sweep(session: Session) -> int:
    """Forget sessions whose cookies have expired, and return how many."""
    statement = delete(EndedSessionRow).where(EndedSessionRow.ended_at < func.now() - KEPT)
    return len(session.scalars(statement.returning(EndedSessionRow.session_sha256)).all())
