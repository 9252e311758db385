"""Subscriptions: who is told of what happens, and the messages that were sent."""

from fastapi import APIRouter, Request, Response, status
from fastapi.responses import JSONResponse

from registry import deliveries, subscriptions
from registry.notices import Rule
from service.dependencies import ActorDep, BodyDep, ContextDep, Cursor, Limit, link_next
from service.http.demands import demands
from service.http.idempotency import IdempotentRequest, body_digest
from service.http.roles import requires
from service.http.strict_route import StrictRoute
from service.schemas.base import Page, PublicId
from service.schemas.subscriptions import (
    MessageRead,
    SubscriptionCreate,
    SubscriptionCreated,
    SubscriptionRead,
    SubscriptionUpdate,
)
from service.use_cases import subscription_changes
from service.use_cases.subscription_views import read_message, read_subscriptions

router = APIRouter(
    prefix="/v1/subscriptions",
    tags=["Subscriptions"],
    route_class=StrictRoute,
    dependencies=[requires("admin")],
)


@router.post("", status_code=status.HTTP_201_CREATED, response_model=SubscriptionCreated)
@demands(is_idempotent=True)
def create_subscription(
    body: SubscriptionCreate, raw: BodyDep, request: Request, context: ContextDep, actor: ActorDep
) -> Response:
    """Be told of what happens. `secret` in the answer is the only time it can be read: messages are signed with it.

    Events: `prediction.made` (an answer that the rule wants), `task.ended` (or held), `accuracy.dropped` (a task or
    class is known less well than with the version before, by more than the intervals explain), `unknown.found` (images
    wait that look alike and like no class).

    Messages follow the Standard Webhooks specification, and come at least once: what fails is tried again for 31 hours.

    - **404** `learner-not-found`
    - **422** `validation`: no message may go to the target, such as one in a private network that the operator has not
      allowed

    Repeated with the same `Idempotency-Key`, the answer has `secret: null`: secrets are not shown again.
    """
    with IdempotentRequest.of(
        request, context.session_factory, body_digest(request, raw)
    ) as idempotent:
        if idempotent.replay is not None:
            return idempotent.replay
        with context.session_factory.begin() as session:
            row = subscription_changes.create_subscription(
                session,
                actor,
                context.settings,
                name=body.name,
                target=body.target,
                events=body.events,
                learner=body.learner,
                rule=Rule.of(body.rule.model_dump()),
            )
            secret = row.secret
            (read,) = read_subscriptions(session, [row])
            shown = read.model_dump(mode="json")
            headers = {"Location": f"/v1/subscriptions/{row.id}"}
            idempotent.answer(session, status.HTTP_201_CREATED, {**shown, "secret": None}, headers)
    return JSONResponse({**shown, "secret": secret}, status.HTTP_201_CREATED, headers)


@router.get("", response_model=Page[SubscriptionRead])
def list_subscriptions(context: ContextDep) -> Page[SubscriptionRead]:
    """List all subscriptions, oldest first, without their secrets."""
    with context.session_factory() as session:
        rows = subscriptions.list_all(session)
        return Page[SubscriptionRead](items=read_subscriptions(session, rows))


@router.get("/{subscription_id}", response_model=SubscriptionRead)
def read_subscription(subscription_id: PublicId, context: ContextDep) -> SubscriptionRead:
    """Read a subscription.

    - **404** `subscription-not-found`
    """
    with context.session_factory() as session:
        row = subscriptions.get(session, subscription_id)
        return read_subscriptions(session, [row])[0]


@router.patch("/{subscription_id}", response_model=SubscriptionRead)
def change_subscription(
    subscription_id: PublicId, body: SubscriptionUpdate, context: ContextDep, actor: ActorDep
) -> SubscriptionRead:
    """Change a subscription, or turn it off or on again. Messages that wait are sent once it is on.

    - **404** `subscription-not-found`
    - **422** `validation`: no message may go to the target
    """
    asked = {
        name: getattr(body, name)
        for name in body.model_fields_set
        if getattr(body, name) is not None
    }
    if body.rule is not None:
        asked["rule"] = Rule.of(body.rule.model_dump())
    with context.session_factory.begin() as session:
        row = subscription_changes.change_subscription(
            session, actor, context.settings, subscription_id, asked
        )
        read = read_subscriptions(session, [row])[0]
    context.notifier.wake()
    return read


@router.delete("/{subscription_id}", status_code=status.HTTP_204_NO_CONTENT)
def delete_subscription(subscription_id: PublicId, context: ContextDep, actor: ActorDep) -> None:
    """Delete a subscription with its messages, also those that wait.

    - **404** `subscription-not-found`
    """
    with context.session_factory.begin() as session:
        subscription_changes.delete_subscription(session, actor, subscription_id)


@router.post(
    "/{subscription_id}/test", status_code=status.HTTP_202_ACCEPTED, response_model=MessageRead
)
def send_test(subscription_id: PublicId, context: ContextDep, actor: ActorDep) -> MessageRead:
    """Send a message of the event `test`; its `tries` say what became of it.

    - **404** `subscription-not-found`
    - **409** `subscription-disabled`
    """
    with context.session_factory.begin() as session:
        read = read_message(subscription_changes.send_test(session, actor, subscription_id))
    context.notifier.wake()
    return read


@router.get("/{subscription_id}/messages", response_model=Page[MessageRead])
def list_messages(
    subscription_id: PublicId,
    request: Request,
    response: Response,
    context: ContextDep,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[MessageRead]:
    """List the messages of a subscription, newest first. They are kept for a week, delivered or not, 1,000 at most.

    - **404** `subscription-not-found`
    """
    with context.session_factory() as session:
        subscriptions.get(session, subscription_id)
        page = deliveries.list_of(session, subscription_id, limit=limit, cursor=cursor)
        read = [read_message(row) for row in page.items]
    link_next(request, response, page.next_cursor)
    return Page[MessageRead](items=read, next_cursor=page.next_cursor)


@router.post(
    "/{subscription_id}/messages/{message_id}/send",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=MessageRead,
)
def send_again(
    subscription_id: PublicId, message_id: PublicId, context: ContextDep, actor: ActorDep
) -> MessageRead:
    """Send a message once more, with the same `webhook-id`; one that waits is sent at once.

    - **404** `subscription-not-found`, `delivery-not-found`
    - **409** `subscription-disabled`
    """
    with context.session_factory.begin() as session:
        row = subscription_changes.send_again(session, actor, subscription_id, message_id)
        read = read_message(row)
    context.notifier.wake()
    return read
