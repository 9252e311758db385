"""Schemas of subscriptions, and of the messages that are sent to them."""

from typing import Annotated, Any, Literal

from pydantic import Field

from registry.statuses import TaskStatus
from service.labels import ShortText
from service.schemas.base import LearnerName, ReadSchema, RequestSchema, Time

EventName = Literal["prediction.made", "task.ended", "accuracy.dropped", "unknown.found"]
EndStatus = Literal[
    TaskStatus.CANCELLED,
    TaskStatus.DECLINED,
    TaskStatus.FAILED,
    TaskStatus.HELD,
    TaskStatus.SUCCEEDED,
]
MessageStatus = Literal["waiting", "delivered", "given_up"]
Share = Annotated[float, Field(ge=0, le=1)]
Target = Annotated[str, Field(min_length=1, max_length=2000)]
Events = Annotated[list[EventName], Field(min_length=1, max_length=4)]


class SubscriptionRule(RequestSchema):
    """What of its events a subscription wants: what is left out does not matter."""

    labels: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=100)] = Field(
        default_factory=list
    )
    """Of `prediction.made`: answers with one of these classes."""
    min_score: Share | None = None
    """Of `prediction.made`: answers with at least this score."""
    max_score: Share | None = None
    """Of `prediction.made`: answers with a score below this."""
    known: bool | None = None
    """Of `prediction.made`: `false` for answers that look like no class."""
    disagrees: bool = False
    """Of `prediction.made`: only answers that would have been another class without the sub-network."""
    statuses: Annotated[list[EndStatus], Field(max_length=5)] = Field(default_factory=list)
    """Of `task.ended`: only tasks that ended so."""
    min_drop: Share = 0.05
    """Of `accuracy.dropped`: by how much, from 0 to 1, the accuracy of a task or class is below that of the version
    before. What the intervals of both explain is never told of."""
    min_images: Annotated[int, Field(ge=2, le=500)] = 5
    """Of `unknown.found`: how many images wait that look alike and like no class."""


class SubscriptionCreate(RequestSchema):
    """A subscription to create."""

    name: ShortText
    target: Target
    """An `http:` or `https:` URL that messages are posted to, or `mqtt:` and a topic."""
    events: Events
    learner: LearnerName | None = None
    """The only learner to listen to; null is all of them."""
    rule: SubscriptionRule = SubscriptionRule()


class SubscriptionUpdate(RequestSchema):
    """What is to change; what is left out stays."""

    name: ShortText | None = None
    target: Target | None = None
    events: Events | None = None
    rule: SubscriptionRule | None = None
    """Takes the place of the whole rule before."""
    enabled: bool | None = None
    """Whether messages are sent: also turns on again what was turned off because nothing arrived."""


class SubscriptionRead(ReadSchema):
    """Who is told of what happens, and of what."""

    id: str
    name: str
    target: str
    events: list[EventName]
    learner: str | None
    rule: SubscriptionRule
    enabled: bool
    disabled_reason: str | None
    """Why nothing is sent, in a sentence; null while it is."""
    disabled_at: Time | None
    failing_since: Time | None
    """Since when no try has gone well; null if the last one has."""
    messages: dict[MessageStatus, int]
    """Messages that are kept, by their status."""
    n_dropped: int
    """Messages that were not kept because too many waited."""
    created_at: Time


class SubscriptionCreated(SubscriptionRead):
    """A new subscription; `secret` is shown this once, and null in a replayed answer."""

    secret: str | None
    """What its messages are signed with: `whsec_` and base64, as the Standard Webhooks specification has it."""


class MessageTry(ReadSchema):
    """What came of one try to send a message."""

    at: Time
    status_code: int | None
    """What the receiver answered; null if it did not, and of MQTT."""
    duration_ms: int
    error: str | None
    """What went wrong, in a sentence; null if it was delivered."""


class MessageRead(ReadSchema):
    """A message to a subscriber."""

    id: str
    """The receiver's `webhook-id`: the same in each try."""
    event: str
    status: MessageStatus
    data: dict[str, Any]
    tries: list[MessageTry]
    """The last 20, oldest first."""
    next_try_at: Time | None
    """Null if there will be none."""
    created_at: Time
    finished_at: Time | None
