"""Notifications in the browser: who is told of what, whether messages arrive, and what to do if not. For admins."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Response

from registry import deliveries, learners, subscriptions
from registry.notices import EVENTS, Rule
from registry.postgres.database import Session
from registry.statuses import TaskStatus
from registry.tables import WAITING, DeliveryRow, SubscriptionRow
from service.dashboard.notification_words import EVENT_WORDS, STATUS_WORDS, about, when
from service.dashboard.pages import DONE, PageRoute, page, see
from service.dashboard.sentences import sentence
from service.dependencies import ActorDep, AppContext, ContextDep, Cursor
from service.http.roles import PrincipalDep, requires
from service.http.security import Principal
from service.problems import Problem
from service.schemas.base import LEARNER_NAME, PublicId
from service.use_cases import subscription_changes
from service.use_cases.subscription_changes import where

MOST_NAME = 200
MOST_LEARNERS = 200
"""Learners offered to listen to."""
MESSAGES_SHOWN = 30
KNOWN = {"": None, "yes": True, "no": False}
"""What the choice of answers means."""

router = APIRouter(prefix="/notifications", route_class=PageRoute, dependencies=[requires("admin")])

Problematic = Annotated[str | None, Query(max_length=50)]
Percent = Annotated[str, Form(max_length=10)]


@dataclass(frozen=True)
class SubscriptionView:
    """A subscription as a part of the page."""

    id: str
    name: str
    where: str
    learner: str | None
    when: list[str]
    state: str
    """`up`, `failing` or `off`."""
    reason: str | None
    """Why it is off, or what the last try came to."""
    failing_since: datetime | None
    waiting: int
    delivered: int
    given_up: int
    n_dropped: int
    created_at: datetime


@dataclass(frozen=True)
class MessageView:
    """A message as a row of a table."""

    id: str
    event: str
    about: str
    status: str
    n_tries: int
    answer: str
    """What the receiver answered last."""
    error: str | None
    next_try_at: datetime | None
    created_at: datetime


@dataclass(frozen=True)
class NewSubscription:
    """What a person wants to be told, as the form has it."""

    name: str = ""
    target: str = ""
    learner: str = ""
    events: tuple[str, ...] = ()
    labels: str = ""
    min_score: str = ""
    max_score: str = ""
    known: str = ""
    disagrees: str = ""
    statuses: tuple[str, ...] = (TaskStatus.FAILED, TaskStatus.HELD)
    min_drop: str = "5"
    min_images: str = "5"
    wrong: dict[str, str] = field(default_factory=dict)


@router.get("")
def show_notifications(
    context: ContextDep,
    viewer: PrincipalDep,
    problem: Problematic = None,
    done: Problematic = None,
) -> Response:
    """Show who is told of what, and a form for one more."""
    return _page(context, viewer, notice=sentence(problem), done=DONE.get(done or ""))


@router.post("")
def add_notification(
    context: ContextDep,
    viewer: PrincipalDep,
    actor: ActorDep,
    name: Annotated[str, Form(max_length=MOST_NAME)] = "",
    target: Annotated[str, Form(max_length=2000)] = "",
    learner: Annotated[str, Form(max_length=63, pattern=f"{LEARNER_NAME}|^$")] = "",
    events: Annotated[list[str] | None, Form(max_length=len(EVENTS))] = None,
    labels: Annotated[str, Form(max_length=5000)] = "",
    min_score: Percent = "",
    max_score: Percent = "",
    known: Annotated[str, Form(max_length=3)] = "",
    disagrees: Annotated[str, Form(max_length=3)] = "",
    statuses: Annotated[list[str] | None, Form(max_length=len(STATUS_WORDS))] = None,
    min_drop: Percent = "5",
    min_images: Percent = "5",
) -> Response:
    """Add somebody to be told, and show the secret: the only time it can be read."""
    wanted = NewSubscription(
        name=name.strip(),
        target=target.strip(),
        learner=learner,
        events=tuple(events or ()),
        labels=labels,
        min_score=min_score,
        max_score=max_score,
        known=known,
        disagrees=disagrees,
        statuses=tuple(statuses or ()),
        min_drop=min_drop,
        min_images=min_images,
    )
    try:
        rule = _rule_of(wanted)
        with context.session_factory.begin() as session:
            row = subscription_changes.create_subscription(
                session,
                actor,
                context.settings,
                name=wanted.name,
                target=wanted.target,
                events=wanted.events,
                learner=wanted.learner or None,
                rule=rule,
            )
            secret = row.secret
    except ValueError as error:
        return _page(context, viewer, status=422, notice=str(error), form=wanted)
    except Problem as problem:
        notice = problem.errors[0].detail if problem.errors else problem.detail
        return _page(context, viewer, status=422, notice=notice, form=wanted)
    return _page(context, viewer, status=201, secret=secret, secret_for=wanted.name)


@router.get("/{subscription_id}")
def show_messages(
    subscription_id: PublicId,
    context: ContextDep,
    viewer: PrincipalDep,
    cursor: Cursor = None,
    problem: Problematic = None,
    done: Problematic = None,
) -> Response:
    """Show the messages of one subscription, newest first, with what became of each."""
    with context.session_factory() as session:
        row = subscriptions.get(session, subscription_id)
        (view,) = _views(session, [row])
        found = deliveries.list_of(session, subscription_id, limit=MESSAGES_SHOWN, cursor=cursor)
        messages = [_message(one) for one in found.items]
    return page(
        "notification.html",
        viewer,
        section="notifications",
        notice=sentence(problem),
        done=DONE.get(done or ""),
        one=view,
        messages=messages,
        event_words=EVENT_WORDS,
        next_cursor=found.next_cursor,
    )


@router.post("/{subscription_id}/test")
def send_test(subscription_id: PublicId, context: ContextDep, actor: ActorDep) -> Response:
    """Send a message that says only that messages arrive."""
    with context.session_factory.begin() as session:
        subscription_changes.send_test(session, actor, subscription_id)
    context.notifier.wake()
    return see(f"/admin/notifications/{subscription_id}?done=test-sent")


@router.post("/{subscription_id}/enabled")
def turn_on_or_off(
    subscription_id: PublicId,
    context: ContextDep,
    actor: ActorDep,
    enabled: Annotated[str, Form(max_length=3)] = "",
) -> Response:
    """Send messages, or none, from now on."""
    is_enabled = enabled == "yes"
    with context.session_factory.begin() as session:
        subscription_changes.change_subscription(
            session, actor, context.settings, subscription_id, {"enabled": is_enabled}
        )
    context.notifier.wake()
    done = "notification-on" if is_enabled else "notification-off"
    return see(f"/admin/notifications?done={done}")


@router.post("/{subscription_id}/delete")
def delete_notification(
    subscription_id: PublicId, context: ContextDep, actor: ActorDep
) -> Response:
    """Delete a subscription with its messages."""
    with context.session_factory.begin() as session:
        subscription_changes.delete_subscription(session, actor, subscription_id)
    return see("/admin/notifications?done=notification-deleted")


@router.post("/{subscription_id}/messages/{message_id}/send")
def send_again(
    subscription_id: PublicId, message_id: PublicId, context: ContextDep, actor: ActorDep
) -> Response:
    """Send a message once more."""
    with context.session_factory.begin() as session:
        subscription_changes.send_again(session, actor, subscription_id, message_id)
    context.notifier.wake()
    return see(f"/admin/notifications/{subscription_id}?done=message-sent")


def _rule_of(wanted: NewSubscription) -> Rule:
    """Return the rule that a form says.

    Raises:
        ValueError: If a field cannot be used; the sentence says which.
    """
    if not wanted.name or not wanted.name.isprintable():
        raise ValueError("Say what the notification is for, in letters that can be seen.")
    if not wanted.events or not set(wanted.events) <= set(EVENTS):
        raise ValueError("Choose what to be told of.")
    if wanted.known not in KNOWN or not set(wanted.statuses) <= set(STATUS_WORDS):
        raise ValueError("Choose from what the form offers.")
    labels = [label.strip() for label in wanted.labels.split(",") if label.strip()]
    min_drop = _share(wanted.min_drop, "drop of accuracy")
    return Rule(
        labels=tuple(dict.fromkeys(labels)),
        min_score=_share(wanted.min_score, "score"),
        max_score=_share(wanted.max_score, "score"),
        known=KNOWN[wanted.known],
        disagrees=bool(wanted.disagrees),
        statuses=tuple(one for one in STATUS_WORDS if one in wanted.statuses),
        min_drop=Rule().min_drop if min_drop is None else min_drop,
        min_images=_count(wanted.min_images),
    )


def _share(text: str, what: str) -> float | None:
    if not text.strip():
        return None
    try:
        percent = float(text.strip().removesuffix("%"))
    except ValueError:
        percent = -1.0
    if not 0 <= percent <= 100:
        raise ValueError(f"A {what} is a number from 0 to 100, in percent.")
    return round(percent / 100, 6)


def _count(text: str) -> int:
    if not (text.strip().isascii() and text.strip().isdigit()) or not 2 <= int(text) <= 500:
        raise ValueError("The number of images alike is a whole number from 2 to 500.")
    return int(text)


def _views(session: Session, rows: list[SubscriptionRow]) -> list[SubscriptionView]:
    counts = deliveries.counts(session)
    names = learners.names(session, {row.learner_id for row in rows if row.learner_id is not None})
    return [_view(session, row, names, counts.get(row.id, {})) for row in rows]


def _view(
    session: Session, row: SubscriptionRow, names: dict[str, str], counts: dict[str, int]
) -> SubscriptionView:
    state, reason = "up", None
    if row.disabled_at is not None:
        state, reason = "off", row.disabled_reason
    elif row.failing_since is not None:
        state, reason = "failing", _last_error(session, row.id)
    return SubscriptionView(
        id=row.id,
        name=row.name,
        where=where(row.target),
        learner=names.get(row.learner_id or ""),
        when=when(row.events, Rule.of(row.rule)),
        state=state,
        reason=reason,
        failing_since=row.failing_since,
        waiting=counts.get("waiting", 0),
        delivered=counts.get("delivered", 0),
        given_up=counts.get("given_up", 0),
        n_dropped=row.n_dropped,
        created_at=row.created_at,
    )


def _last_error(session: Session, subscription_id: str) -> str | None:
    found = [
        (one["at"], one["error"])
        for row in deliveries.list_of(session, subscription_id, limit=MESSAGES_SHOWN).items
        for one in row.tries
        if one["error"]
    ]
    return max(found)[1] if found else None


def _message(row: DeliveryRow) -> MessageView:
    last: dict[str, Any] = row.tries[-1] if row.tries else {}
    parts = [str(last["status_code"])] if last.get("status_code") else []
    if last:
        parts.append(f"in {last['duration_ms']} ms")
    return MessageView(
        id=row.id,
        event=row.event,
        about=about(row.event, row.data),
        status=row.status,
        n_tries=len(row.tries),
        answer=" ".join(parts),
        error=last.get("error") if row.status != "delivered" else None,
        next_try_at=row.due_at if row.status == WAITING and last else None,
        created_at=row.created_at,
    )


def _page(
    context: AppContext,
    viewer: Principal,
    *,
    status: int = 200,
    form: NewSubscription | None = None,
    secret: str | None = None,
    secret_for: str = "",
    notice: str | None = None,
    done: str | None = None,
) -> Response:
    with context.session_factory() as session:
        views = _views(session, subscriptions.list_all(session))
        names = [row.name for row in learners.list_learners(session, limit=MOST_LEARNERS).items]
    return page(
        "notifications.html",
        viewer,
        section="notifications",
        status=status,
        notice=notice,
        done=done,
        subscriptions=views,
        learners=names,
        form=form or NewSubscription(),
        secret=secret,
        secret_for=secret_for,
        has_mqtt=context.settings.mqtt_url is not None,
        status_words=STATUS_WORDS,
    )
