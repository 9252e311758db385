"""The thread that sends: beside others, through kills, and with slow receivers."""

import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from registry import deliveries, subscriptions
from registry.deliveries import NewMessage
from registry.notices import PREDICTED
from service.metrics import Metrics
from service.notifying.addresses import Allowed
from service.notifying.http_sending import HttpSender
from service.notifying.mqtt_sending import MqttSender
from service.notifying.notifier import INTERNAL, Notifier
from tests.factories import make_learner, make_subscription
from tests.service.notifying.receivers import receiving
from tests.waiting import PACE, wait_until, within


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def learner(session):
    learner = make_learner(session)
    session.commit()
    return learner


@contextmanager
def notifying(session_factory, **options):
    fields = {"look": lambda: None, "metrics": Metrics(), **options}
    notifier = Notifier(
        session_factory,
        http=HttpSender(Allowed.parse(["127.0.0.1"]), user_agent="tests"),
        mqtt=MqttSender(None, ""),
        **fields,
    )
    notifier.start()
    try:
        yield notifier
    finally:
        notifier.stop()


def put(session, learner, subscription, n=1):
    deliveries.add(
        session, [NewMessage(subscription.id, learner.id, PREDICTED, {}) for _ in range(n)]
    )
    session.commit()


def counts(session, subscription):
    session.rollback()
    return deliveries.counts(session).get(subscription.id, {})


def got(receiver, n=1):
    for _ in range(n):
        assert receiver.got.acquire(timeout=PACE.scaled(60))


def test_what_waits_is_sent_and_noted(session, session_factory, learner, receiver):
    pond = make_subscription(session, target=receiver.url)
    put(session, learner, pond, n=3)
    metrics = Metrics()
    with notifying(session_factory, metrics=metrics):
        wait_until(lambda: counts(session, pond) == {"delivered": 3})
    rows = deliveries.list_of(session, pond.id).items
    assert {post.headers["webhook-id"] for post in receiver.posts} == {row.id for row in rows}
    assert all(row.tries[0]["duration_ms"] >= 0 for row in rows)
    assert metrics.messages.labels("delivered")._value.get() == 3


def test_what_is_put_while_it_waits_is_sent_once_it_is_woken(
    session, session_factory, learner, receiver
):
    pond = make_subscription(session, target=receiver.url)
    with notifying(session_factory) as notifier:
        for _ in range(3):
            put(session, learner, pond)
            notifier.wake()
            got(receiver)
    assert len(receiver.posts) == 3


def test_a_message_is_sent_by_one_of_several_services(session, session_factory, learner, receiver):
    ponds = [make_subscription(session, target=receiver.url) for _ in range(3)]
    for pond in ponds:
        put(session, learner, pond, n=20)
    with notifying(session_factory), notifying(session_factory), notifying(session_factory):
        wait_until(lambda: all(counts(session, pond) == {"delivered": 20} for pond in ponds))
    ids = [post.headers["webhook-id"] for post in receiver.posts]
    assert len(ids) == len(set(ids)) == 60


def test_a_slow_receiver_holds_up_no_other(session, session_factory, learner, receiver):
    with receiving() as slow:
        slow.hold = threading.Event()
        first, second = (make_subscription(session, target=one.url) for one in (slow, receiver))
        put(session, learner, first, n=10)
        put(session, learner, second, n=10)
        with notifying(session_factory):
            got(slow)
            wait_until(lambda: counts(session, second) == {"delivered": 10})
            assert len(slow.posts) == 1
            slow.hold.set()
            wait_until(lambda: counts(session, first) == {"delivered": 10})


def test_a_message_whose_sender_was_killed_is_sent_again(
    session, session_factory, learner, database_url, receiver
):

    receiver.hold = threading.Event()
    pond = make_subscription(session, target=receiver.url)
    put(session, learner, pond)
    command = [sys.executable, "-m", "tests.service.notifying.sending_process", database_url, "3"]
    with subprocess.Popen(command) as process:
        got(receiver)  # it was claimed and sent, and nobody has noted so
        process.kill()
    assert counts(session, pond) == {"waiting": 1}
    receiver.hold.set()
    with notifying(session_factory):
        got(receiver)
        wait_until(lambda: counts(session, pond) == {"delivered": 1})
    first, second = (post.headers["webhook-id"] for post in receiver.posts)
    assert first == second
    [row] = deliveries.list_of(session, pond.id).items
    assert row.attempt == 2


def test_what_fails_is_tried_again_by_itself(session, session_factory, learner, receiver):
    receiver.answers = [(500, {}), (503, {}), (204, {})]
    pond = make_subscription(session, target=receiver.url)
    put(session, learner, pond)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("registry.deliveries.TRY_AFTER_S", (0.05, 0.05, 60.0))
        with notifying(session_factory):
            wait_until(lambda: counts(session, pond) == {"delivered": 1})
    [row] = deliveries.list_of(session, pond.id).items
    assert [one["status_code"] for one in row.tries] == [500, 503, 204]
    assert subscriptions.get(session, pond.id).failing_since is None


def test_one_that_is_deleted_while_a_message_is_sent_ends_nothing(
    session, session_factory, learner, receiver
):

    receiver.hold = threading.Event()
    pond, other = (make_subscription(session, target=receiver.url) for _ in range(2))
    put(session, learner, pond)
    with notifying(session_factory) as notifier:
        got(receiver)
        subscriptions.remove(session, pond.id)
        session.commit()
        receiver.hold.set()
        put(session, learner, other)
        notifier.wake()
        wait_until(lambda: counts(session, other) == {"delivered": 1})
        assert notifier.thread.failures == 0


def test_stopping_waits_for_no_receiver(session, session_factory, learner, receiver):

    receiver.hold = threading.Event()
    put(session, learner, make_subscription(session, target=receiver.url))
    with within(10.0), notifying(session_factory):
        got(receiver)


def test_there_is_no_broker(session, session_factory, learner):
    pond = make_subscription(session, target="mqtt:pond")
    put(session, learner, pond)
    with notifying(session_factory):
        wait_until(lambda: subscriptions_failing(session, pond))
    [row] = deliveries.list_of(session, pond.id).items
    assert "FILOPODIA_MQTT_URL" in row.tries[0]["error"]


def subscriptions_failing(session, subscription):
    session.rollback()
    session.expire_all()
    return subscriptions.get(session, subscription.id).failing_since


class Broken:
    """A sender with a fault."""

    def send(self, message):
        raise ZeroDivisionError


def test_a_fault_of_our_own_counts_as_a_try(session, session_factory, learner):
    pond = make_subscription(session)
    put(session, learner, pond)
    notifier = Notifier(
        session_factory,
        http=Broken(),
        mqtt=MqttSender(None, ""),
        metrics=Metrics(),
        look=lambda: False,
    )
    notifier.start()
    wait_until(lambda: subscriptions_failing(session, pond))
    notifier.stop()
    [row] = deliveries.list_of(session, pond.id).items
    assert (row.spent, row.tries[0]["error"]) == (1, INTERNAL)
