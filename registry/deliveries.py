"""Messages to subscribers: an outbox, written in the transaction of what they tell of, and emptied by the services.

A message waits until one service claims it; if that is killed, another one takes it over, so a message comes once or
more often, always with the same id. What fails is tried again after longer and longer pauses, for `TRY_AFTER_S` in all,
and is given up then.
"""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, insert, or_, select
from sqlalchemy.orm import Session

from registry import subscriptions
from registry.errors import DeliveryNotFoundError, FencedError, SubscriptionDisabledError
from registry.ids import new_id
from registry.notices import TEST
from registry.paging import Page, decode_cursor, page_of
from registry.scopes import EVERY_LEARNER
from registry.tables import DELIVERED, GIVEN_UP, WAITING, DeliveryRow, SubscriptionRow

TRY_AFTER_S = (5.0, 60.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0)
"""Seconds between two tries, give or take `JITTER`: the last try comes 31 hours after the first."""
JITTER = 0.2
MOST_RETRY_AFTER_S = 3600.0
"""A receiver may ask for a longer pause than the next one, up to this."""
MOST_TRIES = 20
"""Tries that are remembered of a message."""
MOST_WAITING = 5000
"""Messages that wait for one subscriber; more are counted and dropped."""
DEAD_AFTER = timedelta(hours=24)
"""A subscription to which a message is given up is disabled if nothing has reached it for so long."""
KEEP = timedelta(days=7)
"""How long a message is kept, delivered or not."""
MOST_KEPT = 1000
"""Messages of one subscription that are kept once they are delivered or given up."""


@dataclass(frozen=True)
class NewMessage:
    """What is to be said to a subscriber."""

    subscription_id: str
    learner_id: str | None
    event: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Claimed:
    """A message that this service is to send, with where it goes."""

    id: str
    subscription_id: str
    attempt: int
    event: str
    data: dict[str, Any]
    created_at: datetime
    target: str
    secret: str


@dataclass(frozen=True)
class Outcome:
    """What came of a try."""

    status_code: int | None
    duration_ms: int
    error: str | None = None
    """What went wrong, in a sentence; None if it was delivered."""
    retry_after_s: float | None = None
    is_gone: bool = False
    """Whether the receiver has said that it wants nothing any more."""


def add(session: Session, messages: Sequence[NewMessage]) -> int:
    """Put messages into the queue, as far as there is room for their subscribers; return how many were."""
    room: dict[str, int] = {}
    rows, dropped = [], dict[str, int]()
    for message in messages:
        to = message.subscription_id
        if to not in room:
            room[to] = MOST_WAITING - _count_waiting(session, to)
        if room[to] <= 0:
            dropped[to] = dropped.get(to, 0) + 1
            continue
        room[to] -= 1
        rows.append({"id": new_id("msg"), "status": WAITING, **_values(message)})
    if rows:
        session.execute(insert(DeliveryRow), rows)
    for subscription_id, n_messages in sorted(dropped.items()):
        subscriptions.count_dropped(session, subscription_id, n_messages)
    return len(rows)


def _values(message: NewMessage) -> dict[str, Any]:
    return {
        "subscription_id": message.subscription_id,
        "learner_id": message.learner_id,
        "event": message.event,
        "data": dict(message.data),
        "attempt": 0,
        "spent": 0,
        "tries": [],
    }


def _count_waiting(session: Session, subscription_id: str) -> int:
    waiting = (
        select(DeliveryRow.id)
        .where(DeliveryRow.subscription_id == subscription_id, DeliveryRow.status == WAITING)
        .limit(MOST_WAITING)
    )
    query = select(func.count()).select_from(waiting.subquery())
    return session.scalars(query.execution_options(**EVERY_LEARNER)).one()


def add_test(session: Session, subscription: SubscriptionRow) -> DeliveryRow:
    """Put a message into the queue that says nothing but that messages arrive.

    Raises:
        SubscriptionDisabledError: If nothing is sent to this subscription.
    """
    _require_enabled(subscription)
    data = {"subscription": subscription.name, "text": "This is a test. Messages arrive."}
    row = DeliveryRow(
        id=new_id("msg"),
        **_values(NewMessage(subscription.id, subscription.learner_id, TEST, data)),
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def get(
    session: Session, subscription_id: str, delivery_id: str, *, lock: bool = False
) -> DeliveryRow:
    """Return a message of a subscription; `lock` holds its row until the transaction ends.

    Raises:
        DeliveryNotFoundError: If it has none with this id.
    """
    row = session.get(
        DeliveryRow, delivery_id, with_for_update=lock or None, populate_existing=lock
    )
    if row is None or row.subscription_id != subscription_id:
        raise DeliveryNotFoundError(delivery_id)
    return row


def send_again(session: Session, row: DeliveryRow, subscription: SubscriptionRow) -> None:
    """Let a message that is locked be tried now, whatever became of it, and as often as a new one.

    Raises:
        SubscriptionDisabledError: If nothing is sent to its subscription.
    """
    _require_enabled(subscription)
    row.status = WAITING
    row.spent = 0
    row.due_at = func.now()
    row.finished_at = None
    session.flush()
    session.refresh(row)


def _require_enabled(subscription: SubscriptionRow) -> None:
    if subscription.disabled_at is not None:
        raise SubscriptionDisabledError(subscription.id)


def list_of(
    session: Session, subscription_id: str, *, limit: int = 50, cursor: str | None = None
) -> Page[DeliveryRow]:
    """Return a page of a subscription's messages, newest first.

    Raises:
        InvalidCursorError: If the cursor is not one of ours.
    """
    query = select(DeliveryRow).where(DeliveryRow.subscription_id == subscription_id)
    if cursor is not None:
        query = query.where(DeliveryRow.id < decode_cursor(cursor, 1)[0])
    rows = session.scalars(query.order_by(DeliveryRow.id.desc()).limit(limit + 1))
    return page_of(list(rows), limit, lambda row: (row.id,))


def counts(session: Session) -> dict[str, dict[str, int]]:
    """Return how many messages of each status are kept of each subscription. One query."""
    key = DeliveryRow.subscription_id, DeliveryRow.status
    found: dict[str, dict[str, int]] = {}
    for subscription_id, status, n_messages in session.execute(
        select(*key, func.count()).group_by(*key)
    ):
        found.setdefault(subscription_id, {})[status] = n_messages
    return found


def claim(session: Session, lease_s: float, busy: Collection[str] = ()) -> Claimed | None:
    """Take the message that is due longest, or None; after `lease_s` seconds another service may have it.

    Args:
        session: Database session.
        lease_s: Longer than a try may take.
        busy: Subscriptions that are being sent something: a slow receiver must not hold up the others.
    """
    query = (
        select(DeliveryRow, SubscriptionRow)
        .join(SubscriptionRow, SubscriptionRow.id == DeliveryRow.subscription_id)
        .where(
            DeliveryRow.status == WAITING,
            DeliveryRow.due_at <= func.now(),
            SubscriptionRow.disabled_at.is_(None),
            DeliveryRow.subscription_id.not_in(list(busy)),
        )
        .order_by(DeliveryRow.due_at, DeliveryRow.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=DeliveryRow)
    )
    found = session.execute(query).one_or_none()
    if found is None:
        return None
    row, subscription = found
    row.attempt += 1
    row.due_at = func.now() + timedelta(seconds=lease_s)
    session.flush()
    return Claimed(
        id=row.id,
        subscription_id=subscription.id,
        attempt=row.attempt,
        event=row.event,
        data=row.data,
        created_at=row.created_at,
        target=subscription.target,
        secret=subscription.secret,
    )


def next_due_s(session: Session, busy: Collection[str] = ()) -> float | None:
    """Return the seconds until a message that waits is due; None if there is none but for those that are `busy`."""
    due = func.extract("epoch", func.min(DeliveryRow.due_at) - func.now())
    query = (
        select(due)
        .join(SubscriptionRow, SubscriptionRow.id == DeliveryRow.subscription_id)
        .where(
            DeliveryRow.status == WAITING,
            SubscriptionRow.disabled_at.is_(None),
            DeliveryRow.subscription_id.not_in(list(busy)),
        )
    )
    seconds = session.scalars(query).one()
    return None if seconds is None else max(0.0, float(seconds))


def settle(session: Session, claimed: Claimed, outcome: Outcome) -> str:
    """Note what came of a try, and return the status of the message.

    Raises:
        FencedError: If it was claimed again or deleted meanwhile.
        SubscriptionNotFoundError: If its subscription was deleted.
    """
    # In this order, as whoever deletes a subscription locks them.
    subscription = subscriptions.get(session, claimed.subscription_id, lock=True)
    query = select(DeliveryRow).where(
        DeliveryRow.id == claimed.id,
        DeliveryRow.attempt == claimed.attempt,
        DeliveryRow.status == WAITING,
    )
    row = session.scalars(query.with_for_update()).one_or_none()
    if row is None:
        raise FencedError(claimed.id, claimed.attempt)
    now: datetime = session.scalars(select(func.now())).one()
    row.tries = [*row.tries, _try(outcome, now)][-MOST_TRIES:]
    if outcome.error is None:
        row.status, row.finished_at = DELIVERED, now
        subscription.failing_since = None
    else:
        row.spent += 1
        subscription.failing_since = subscription.failing_since or now
        _plan(row, subscription, outcome, now)
    session.flush()
    return row.status


def _try(outcome: Outcome, now: datetime) -> dict[str, Any]:
    return {
        "at": now.isoformat(),
        "status_code": outcome.status_code,
        "duration_ms": outcome.duration_ms,
        "error": outcome.error,
    }


def _plan(row: DeliveryRow, subscription: SubscriptionRow, outcome: Outcome, now: datetime) -> None:
    """Say when a message that failed is tried again, or give it up, and with it the subscription if nothing arrives."""
    if outcome.is_gone:
        row.status, row.finished_at = GIVEN_UP, now
        subscription.disabled_at = now
        subscription.disabled_reason = "The receiver answered 410: it wants no more messages."
    elif row.spent <= len(TRY_AFTER_S):
        row.due_at = now + timedelta(seconds=pause_s(row.spent, outcome.retry_after_s))
    else:
        row.status, row.finished_at = GIVEN_UP, now
        since = subscription.failing_since or now
        if subscription.disabled_at is None and now - since >= DEAD_AFTER:
            subscription.disabled_at = now
            subscription.disabled_reason = (
                f"Nothing has arrived since {since:%Y-%m-%d %H:%M} UTC. {outcome.error}"
            )


def pause_s(n_failed: int, retry_after_s: float | None = None) -> float:
    """Return the seconds before the next try, after `n_failed` of them; at least what the receiver has asked for.

    Example:
        >>> 4 <= pause_s(1) <= 6, 48 <= pause_s(2) <= 72, pause_s(1, retry_after_s=90.0)
        (True, True, 90.0)
    """
    pause = TRY_AFTER_S[n_failed - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    return max(pause, min(retry_after_s or 0.0, MOST_RETRY_AFTER_S))


def prune(session: Session, *, limit: int) -> int:
    """Delete up to `limit` messages that are old, or more than are kept, and return how many."""
    place = func.row_number().over(
        partition_by=DeliveryRow.subscription_id, order_by=DeliveryRow.id.desc()
    )
    numbered = (
        select(DeliveryRow.id, place.label("place")).where(DeliveryRow.status != WAITING).subquery()
    )
    beyond = select(numbered.c.id).where(numbered.c.place > MOST_KEPT)
    old = or_(DeliveryRow.created_at < func.now() - KEEP, DeliveryRow.id.in_(beyond))
    ids = select(DeliveryRow.id).where(old).limit(limit).with_for_update(skip_locked=True)
    gone = delete(DeliveryRow).where(DeliveryRow.id.in_(ids)).returning(DeliveryRow.id)
    return len(session.scalars(gone.execution_options(synchronize_session=False)).all())
