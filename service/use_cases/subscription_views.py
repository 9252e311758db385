"""Subscriptions and their messages as clients read them."""

from collections.abc import Sequence

from registry import deliveries, learners
from registry.notices import Rule
from registry.postgres.database import Session
from registry.tables import WAITING, DeliveryRow, SubscriptionRow
from service.schemas.subscriptions import (
    MessageRead,
    MessageTry,
    SubscriptionRead,
    SubscriptionRule,
)


def read_subscriptions(session: Session, rows: Sequence[SubscriptionRow]) -> list[SubscriptionRead]:
    """Return what subscriptions read like. Two queries."""
    counts = deliveries.counts(session)
    ids = {row.learner_id for row in rows if row.learner_id is not None}
    names = learners.names(session, ids) if ids else {}
    return [
        SubscriptionRead.model_validate(
            {
                "id": row.id,
                "name": row.name,
                "target": row.target,
                "events": row.events,
                "learner": names.get(row.learner_id or ""),
                "rule": SubscriptionRule.model_validate(Rule.of(row.rule).stored()),
                "enabled": row.disabled_at is None,
                "disabled_reason": row.disabled_reason,
                "disabled_at": row.disabled_at,
                "failing_since": row.failing_since,
                "messages": counts.get(row.id, {}),
                "n_dropped": row.n_dropped,
                "created_at": row.created_at,
            }
        )
        for row in rows
    ]


def read_message(row: DeliveryRow) -> MessageRead:
    """Return what a message reads like."""
    return MessageRead.model_validate(
        {
            "id": row.id,
            "event": row.event,
            "status": row.status,
            "data": row.data,
            "tries": [MessageTry.model_validate(one) for one in row.tries],
            "next_try_at": row.due_at if row.status == WAITING else None,
            "created_at": row.created_at,
            "finished_at": row.finished_at,
        }
    )
