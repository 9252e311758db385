"""Making, changing and deleting subscriptions, and sending to them by hand: each with its note in the audit log.

The note names the host of a receiver and not its whole address, in which there may be a token.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from registry import audit, deliveries, learners, subscriptions
from registry.audit import Actor
from registry.notices import Rule
from registry.postgres.database import Session
from registry.tables import DeliveryRow, SubscriptionRow
from service.notifying.addresses import (
    AddressRefusedError,
    Allowed,
    checked_addresses,
    literal_addresses,
)
from service.notifying.mqtt_sending import SCHEME
from service.problems import FieldError, Problem
from service.settings import ServiceSettings

MOST = 100
"""Subscriptions of an installation."""
MOST_TOPIC = 500
PORTS = {"http": 80, "https": 443}


def create_subscription(
    session: Session,
    actor: Actor,
    settings: ServiceSettings,
    *,
    name: str,
    target: str,
    events: Sequence[str],
    learner: str | None,
    rule: Rule,
) -> SubscriptionRow:
    """Create a subscription with a new secret, and return its row.

    Raises:
        LearnerNotFoundError: If there is no learner of this name.
        Problem: `validation`, if no message may go to the target, or there are too many subscriptions.
    """
    if len(subscriptions.list_all(session)) >= MOST:
        raise Problem("quota-exceeded", f"There are {MOST} subscriptions already: delete one.")
    require_target(target, settings)
    learner_id = None if learner is None else learners.get_learner(session, learner).id
    row = subscriptions.add(
        session,
        name=name,
        learner_id=learner_id,
        target=target,
        events=list(dict.fromkeys(events)),
        rule=rule,
    )
    details = {
        "name": name,
        "host": where(target),
        "events": row.events,
        "rule": dict(row.rule),
    }
    audit.record(
        session, actor, "subscription.create", learner=learner, subject=row.id, details=details
    )
    return row


def change_subscription(
    session: Session,
    actor: Actor,
    settings: ServiceSettings,
    subscription_id: str,
    asked: Mapping[str, Any],
) -> SubscriptionRow:
    """Change what is asked of a subscription, `name`, `target`, `events`, `rule` or `enabled`, and return its row.

    Raises:
        SubscriptionNotFoundError: If there is none.
        Problem: `validation`, if no message may go to the target.
    """
    row = subscriptions.get(session, subscription_id, lock=True)
    before = _as_noted(row)
    values = {name: asked[name] for name in ("name", "target", "events") if name in asked}
    if "target" in values and values["target"] != row.target:
        require_target(values["target"], settings)
    if "rule" in asked:
        values["rule"] = asked["rule"].stored()
    subscriptions.change(session, row, values)
    if "enabled" in asked:
        subscriptions.enable(session, row, is_enabled=asked["enabled"])
    after = _as_noted(row)
    changed = {
        name: {"before": before[name], "after": after[name]}
        for name in before
        if before[name] != after[name]
    }
    if changed:
        audit.record(session, actor, "subscription.update", subject=row.id, details=changed)
    return row


def delete_subscription(session: Session, actor: Actor, subscription_id: str) -> None:
    """Delete a subscription with its messages.

    Raises:
        SubscriptionNotFoundError: If there is none.
    """
    row = subscriptions.remove(session, subscription_id)
    details = {"name": row.name, "host": where(row.target)}
    audit.record(session, actor, "subscription.delete", subject=row.id, details=details)


def send_test(session: Session, actor: Actor, subscription_id: str) -> DeliveryRow:
    """Send a message that says nothing but that messages arrive.

    Raises:
        SubscriptionNotFoundError: If there is no such subscription.
        SubscriptionDisabledError: If nothing is sent to it.
    """
    row = subscriptions.get(session, subscription_id)
    message = deliveries.add_test(session, row)
    audit.record(session, actor, "subscription.test", subject=row.id, details={"name": row.name})
    return message


def send_again(
    session: Session, actor: Actor, subscription_id: str, message_id: str
) -> DeliveryRow:
    """Send a message once more, whatever became of it, or at once if it waits.

    Raises:
        SubscriptionNotFoundError, DeliveryNotFoundError: If there is no such subscription, or message of it.
        SubscriptionDisabledError: If nothing is sent to it.
    """
    subscription = subscriptions.get(session, subscription_id)
    message = deliveries.get(session, subscription_id, message_id, lock=True)
    deliveries.send_again(session, message, subscription)
    details = {"name": subscription.name, "message": message.id}
    audit.record(
        session, actor, "subscription.send_again", subject=subscription.id, details=details
    )
    return message


def where(target: str) -> str:
    """Return what may be noted of a target.

    Example:
        >>> where("https://hooks.example.org/T0/secret"), where("mqtt:garden")
        ('hooks.example.org', 'mqtt:garden')
    """
    return target if target.startswith(SCHEME) else urlsplit(target).hostname or ""


def require_target(target: str, settings: ServiceSettings) -> None:
    """Refuse a target that no message can go to. What a name leads to is found out when a message is sent.

    Raises:
        Problem: `validation`.
    """
    reason = (
        _wrong_topic(target, settings)
        if target.startswith(SCHEME)
        else _wrong_url(target, settings)
    )
    if reason is not None:
        raise Problem("validation", errors=(FieldError("/body/target", reason),))


def _wrong_topic(target: str, settings: ServiceSettings) -> str | None:
    topic = target.removeprefix(SCHEME)
    if settings.mqtt_url is None:
        return "There is no MQTT broker: the operator sets FILOPODIA_MQTT_URL."
    is_plain = topic.isprintable() and not {"+", "#", "$"} & {*topic}
    if not topic.strip("/") or len(topic) > MOST_TOPIC or not is_plain:
        return "A topic has letters and slashes such as mqtt:garden/heron, but no + # or $."
    return None


def _wrong_url(target: str, settings: ServiceSettings) -> str | None:
    if not (target.isascii() and target.isprintable() and " " not in target and "\\" not in target):
        return "A URL is written in visible characters of ASCII."
    try:
        parts = urlsplit(target)
        host, port = parts.hostname, parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:
        host, port = None, 0
        parts = urlsplit("")
    if parts.scheme not in PORTS or not host:
        return "Give a URL such as https://example.org/hook, or mqtt: and a topic."
    if parts.username is not None or parts.password is not None:
        return "Leave the user and password out of the URL: messages are signed instead."
    try:
        checked_addresses(host, port, Allowed.parse(settings.notify_allow), literal_addresses)
    except AddressRefusedError as error:
        return str(error)
    except OSError:
        return None
    return None


def _as_noted(row: SubscriptionRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "host": where(row.target),
        "events": list(row.events),
        "rule": dict(row.rule),
        "enabled": row.disabled_at is None,
    }
