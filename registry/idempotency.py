"""Idempotency keys: the first answer to a creating POST, replayed when the same request comes again within a day."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.errors import IdempotencyInProgressError, IdempotencyKeyReusedError
from registry.tables import IdempotencyRow

KEPT = timedelta(hours=24)
UNFINISHED_AFTER = timedelta(minutes=1)
"""A first request that has not answered by then has probably died with its process; the key is free again. If it has
not, only one of the two is committed."""


@dataclass(frozen=True)
class StoredAnswer:
    """The answer to the first request."""

    status_code: int
    headers: dict[str, Any]
    body: dict[str, Any] | None


def begin(session: Session, scope: str, key: str, body_sha256: str) -> StoredAnswer | None:
    """Reserve a key for this request, or return the first request's answer. Commit before doing the work.

    Args:
        session: Database session.
        scope: `<api key id> <method> <path>`.
        key: The client's `Idempotency-Key`.
        body_sha256: Hash of the request's body.

    Returns:
        None if this is the first request: `finish` or `abandon` it.

    Raises:
        IdempotencyKeyReusedError: If the key came with another body.
        IdempotencyInProgressError: If the first request still runs.
    """
    expired = _rows(scope, key, IdempotencyRow.created_at < func.now() - KEPT)
    died = _rows(
        scope,
        key,
        IdempotencyRow.status_code.is_(None),
        IdempotencyRow.created_at < func.now() - UNFINISHED_AFTER,
    )
    session.execute(delete(IdempotencyRow).where(expired | died))
    reserved = session.scalars(
        insert(IdempotencyRow)
        .values(scope=scope, key=key, body_sha256=body_sha256, headers={})
        .on_conflict_do_nothing()
        .returning(IdempotencyRow.key)
    ).one_or_none()
    if reserved is not None:
        return None
    row = session.scalars(select(IdempotencyRow).where(_rows(scope, key))).one_or_none()
    if row is not None and row.body_sha256 != body_sha256:
        raise IdempotencyKeyReusedError
    if row is None or row.status_code is None:
        raise IdempotencyInProgressError
    return StoredAnswer(row.status_code, row.headers, row.body)


def finish(
    session: Session,
    scope: str,
    key: str,
    *,
    status_code: int,
    headers: Mapping[str, str],
    body: dict[str, Any] | None,
) -> None:
    """Keep the answer, in the transaction that does the work.

    Raises:
        IdempotencyInProgressError: If the reservation is gone, because the request took longer than it is kept.
    """
    statement = (
        update(IdempotencyRow)
        .where(_rows(scope, key, IdempotencyRow.status_code.is_(None)))
        .values(status_code=status_code, headers=dict(headers), body=body)
        .returning(IdempotencyRow.key)
    )
    if session.scalars(statement).one_or_none() is None:
        raise IdempotencyInProgressError


def abandon(session: Session, scope: str, key: str) -> None:
    """Free a key whose request did nothing, so that it can be repeated."""
    session.execute(
        delete(IdempotencyRow).where(_rows(scope, key, IdempotencyRow.status_code.is_(None)))
    )


def abandon_unfinished(session: Session) -> int:
    """Free the keys of all unfinished requests and return how many.

    For a service that starts and knows that no other one runs on this database.
    """
    statement = delete(IdempotencyRow).where(IdempotencyRow.status_code.is_(None))
    return len(session.scalars(statement.returning(IdempotencyRow.key)).all())


def sweep(session: Session) -> int:
    """Forget answers older than a day and return how many."""
    statement = delete(IdempotencyRow).where(IdempotencyRow.created_at < func.now() - KEPT)
    return len(session.scalars(statement.returning(IdempotencyRow.key)).all())


def _rows(scope: str, key: str, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return and_(IdempotencyRow.scope == scope, IdempotencyRow.key == key, *conditions)
