"""Subscriptions, and the messages that are sent to them."""

from collections.abc import Mapping, Sequence
from typing import Any

from service.remote import replies
from service.remote.calls import Call, Pages, given, read_items, read_nothing


def subscribe(
    name: str,
    target: str,
    events: Sequence[str],
    *,
    learner: str | None = None,
    rule: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> Call[replies.Subscription]:
    """Be told of what happens; the answer's `secret` is shown this once.

    Args:
        name: What it is for.
        target: A URL that messages are posted to, or `mqtt:` and a topic.
        events: `prediction.made`, `task.ended`, `accuracy.dropped`, `unknown.found`.
        learner: The only learner to listen to; all if left out.
        rule: What of these events is wanted, such as `{"labels": ["heron"], "min_score": 0.8}`.
        idempotency_key: Sent again with the same body, it makes no second subscription.
    """
    headers = given(**{"Idempotency-Key": idempotency_key})
    limits = given(learner=learner, rule=None if rule is None else dict(rule))
    body = {"name": name, "target": target, "events": list(events), **limits}
    return Call("POST", "/v1/subscriptions", headers=headers, json=body, creates=True)


def subscriptions() -> Call[list[replies.Subscription]]:
    """List all subscriptions, without their secrets."""
    return Call("GET", "/v1/subscriptions", read=read_items)


def subscription(subscription_id: str) -> Call[replies.Subscription]:
    """Read a subscription."""
    path = {"subscription_id": subscription_id}
    return Call("GET", "/v1/subscriptions/{subscription_id}", path)


def update_subscription(
    subscription_id: str,
    *,
    name: str | None = None,
    target: str | None = None,
    events: Sequence[str] | None = None,
    rule: Mapping[str, Any] | None = None,
    enabled: bool | None = None,
) -> Call[replies.Subscription]:
    """Change a subscription, or turn it off or on again; what is left out stays. `rule` takes the place of the old."""
    body = given(
        name=name,
        target=target,
        events=None if events is None else list(events),
        rule=None if rule is None else dict(rule),
        enabled=enabled,
    )
    path = {"subscription_id": subscription_id}
    return Call("PATCH", "/v1/subscriptions/{subscription_id}", path, json=body)


def unsubscribe(subscription_id: str) -> Call[None]:
    """Delete a subscription with its messages."""
    path = {"subscription_id": subscription_id}
    return Call("DELETE", "/v1/subscriptions/{subscription_id}", path, read=read_nothing)


def send_test_message(subscription_id: str) -> Call[replies.Message]:
    """Send a message of the event `test`; `messages` says what became of it."""
    path = {"subscription_id": subscription_id}
    return Call("POST", "/v1/subscriptions/{subscription_id}/test", path)


def messages(subscription_id: str, *, limit: int | None = None) -> Pages[replies.Message]:
    """List the messages of a subscription, newest first."""
    path = {"subscription_id": subscription_id}
    return Pages("/v1/subscriptions/{subscription_id}/messages", path, limit=limit)


def send_message_again(subscription_id: str, message_id: str) -> Call[replies.Message]:
    """Send a message once more, or at once if it waits."""
    path = {"subscription_id": subscription_id, "message_id": message_id}
    return Call("POST", "/v1/subscriptions/{subscription_id}/messages/{message_id}/send", path)
