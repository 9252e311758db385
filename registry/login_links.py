"""Links that log a browser in, by the SHA-256 of their token: any service on this database takes one, and only once."""

from datetime import timedelta

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.tables import LoginLinkRow

LIFETIME = timedelta(minutes=10)
"""Enough to read a terminal and open a browser."""
MOST = 100
"""Links that wait to be used; the oldest give way."""


def add(session: Session, token_sha256: str, key_id: str) -> None:
    """Keep a link for a key, and forget those that are too old or too many."""
    session.execute(insert(LoginLinkRow).values(token_sha256=token_sha256, key_id=key_id))
    newest = select(LoginLinkRow.token_sha256).order_by(LoginLinkRow.made_at.desc()).limit(MOST)
    is_spent = ~_is_young() | LoginLinkRow.token_sha256.not_in(newest)
    session.execute(delete(LoginLinkRow).where(is_spent))


def take(session: Session, token_sha256: str) -> str | None:
    """Use a link up, and return the id of its key; None if it was used, is too old, or never was one."""
    statement = delete(LoginLinkRow).where(LoginLinkRow.token_sha256 == token_sha256, _is_young())
    return session.scalars(statement.returning(LoginLinkRow.key_id)).one_or_none()


def _is_young() -> ColumnElement[bool]:
    return LoginLinkRow.made_at > func.now() - LIFETIME
