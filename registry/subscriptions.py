"""Subscriptions: who is told of what happens. Kept with the secret that their messages are signed with.

A subscription that nothing has reached for long is disabled with a reason, until somebody enables it again.
"""

import base64
import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from registry.errors import SubscriptionNotFoundError
from registry.ids import new_id
from registry.notices import UNKNOWN_FOUND, Rule
from registry.scopes import EVERY_LEARNER
from registry.tables import SubscriptionRow

SECRET_PREFIX = "whsec_"
"""As the Standard Webhooks specification writes secrets."""
SECRET_BYTES = 32


def new_secret() -> str:
    """Return a secret that nobody knows yet."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def add(
    session: Session,
    *,
    name: str,
    learner_id: str | None,
    target: str,
    events: Sequence[str],
    rule: Rule,
) -> SubscriptionRow:
    """Add a subscription with a new secret."""
    row = SubscriptionRow(
        id=new_id("sub"),
        name=name,
        learner_id=learner_id,
        target=target,
        secret=new_secret(),
        events=list(events),
        rule=rule.stored(),
        n_dropped=0,
        announced={},
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def get(session: Session, subscription_id: str, *, lock: bool = False) -> SubscriptionRow:
    """Return a subscription; `lock` holds its row until the transaction ends, and lets messages be added meanwhile.

    Raises:
        SubscriptionNotFoundError: If there is none with this id.
    """
    query = select(SubscriptionRow).where(SubscriptionRow.id == subscription_id)
    if lock:
        query = query.with_for_update(key_share=True).execution_options(populate_existing=True)
    row = session.scalars(query).one_or_none()
    if row is None:
        raise SubscriptionNotFoundError(subscription_id)
    return row


def list_all(session: Session) -> list[SubscriptionRow]:
    """Return all subscriptions, oldest first."""
    return list(session.scalars(select(SubscriptionRow).order_by(SubscriptionRow.id)))


def change(session: Session, row: SubscriptionRow, values: Mapping[str, Any]) -> None:
    """Change a subscription that is locked: any of `name`, `target`, `events` and `rule`."""
    if values.get("target", row.target) != row.target:
        row.failing_since = None  # what another receiver did not take says nothing about this one
    for name, value in values.items():
        setattr(row, name, value)
    session.flush()


def enable(session: Session, row: SubscriptionRow, *, is_enabled: bool) -> None:
    """Let messages be sent, or not, to a subscription that is locked."""
    row.failing_since = None
    if is_enabled:
        row.disabled_at = row.disabled_reason = None
    elif row.disabled_at is None:
        row.disabled_at = func.now()
        row.disabled_reason = "Somebody has turned it off."
    session.flush()
    session.refresh(row)


def remove(session: Session, subscription_id: str) -> SubscriptionRow:
    """Delete a subscription with its messages, and return it.

    Raises:
        SubscriptionNotFoundError: If there is none with this id.
    """
    row = session.get(SubscriptionRow, subscription_id, with_for_update=True)
    if row is None:
        raise SubscriptionNotFoundError(subscription_id)
    session.delete(row)
    session.flush()
    return row


def listening(session: Session, event: str, learner_ids: Collection[str]) -> list[SubscriptionRow]:
    """Return the enabled subscriptions that listen for an event of any of some learners; each stays until the end.

    Also for a caller that may see some learners only: what it does is told to whoever listens.
    """
    of_them = or_(SubscriptionRow.learner_id.is_(None), SubscriptionRow.learner_id.in_(learner_ids))
    query = (
        select(SubscriptionRow)
        .where(
            SubscriptionRow.disabled_at.is_(None), SubscriptionRow.events.contains([event]), of_them
        )
        .order_by(SubscriptionRow.id)
        # One that is being deleted must not take down the transaction that adds a message for it.
        .with_for_update(read=True, key_share=True)
        .execution_options(**EVERY_LEARNER)
    )
    return list(session.scalars(query))


def count_dropped(session: Session, subscription_id: str, n_messages: int) -> None:
    """Count messages that were not kept because too many waited."""
    statement = (
        update(SubscriptionRow)
        .where(SubscriptionRow.id == subscription_id)
        .values(n_dropped=SubscriptionRow.n_dropped + n_messages)
        .execution_options(synchronize_session=False, **EVERY_LEARNER)
    )
    session.execute(statement)


def claim_look(session: Session, every_s: float) -> SubscriptionRow | None:
    """Return a subscription for which images without a class are to be looked at now, locked; None if there is none.

    Of several services one gets it, and the next look is not before `every_s` seconds.
    """
    is_due = or_(
        SubscriptionRow.looked_at.is_(None),
        SubscriptionRow.looked_at < func.now() - timedelta(seconds=every_s),
    )
    query = (
        select(SubscriptionRow)
        .where(
            SubscriptionRow.disabled_at.is_(None),
            SubscriptionRow.events.contains([UNKNOWN_FOUND]),
            is_due,
        )
        .order_by(SubscriptionRow.looked_at.nulls_first())
        .limit(1)
        .with_for_update(skip_locked=True, key_share=True)
    )
    row = session.scalars(query).one_or_none()
    if row is not None:
        row.looked_at = func.now()
        session.flush()
    return row
