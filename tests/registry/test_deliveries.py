"""The outbox: who sends a message, how often, and what becomes of it and of its subscription."""

from datetime import timedelta

import pytest
from sqlalchemy import func, update

from registry import deliveries, subscriptions
from registry.deliveries import DEAD_AFTER, MOST_WAITING, TRY_AFTER_S, NewMessage, Outcome
from registry.errors import DeliveryNotFoundError, FencedError, SubscriptionDisabledError
from registry.notices import PREDICTED, TEST
from registry.tables import DeliveryRow
from tests.factories import make_learner, make_subscription

FINE = Outcome(204, 12)
BROKEN = Outcome(500, 30, "The receiver answered 500.")


@pytest.fixture
def learner(session):
    return make_learner(session)


@pytest.fixture
def pond(session):
    return make_subscription(session)


@pytest.fixture
def add(session, learner):
    def add_messages(subscription, n=1, **data):
        message = NewMessage(subscription.id, learner.id, PREDICTED, data)
        n_added = deliveries.add(session, [message] * n)
        session.commit()
        return n_added

    return add_messages


def row_of(session, claimed):
    session.expire_all()
    return session.get(DeliveryRow, claimed.id)


def due_now(session):
    session.execute(update(DeliveryRow).values(due_at=func.now()))
    session.commit()


def try_once(session, outcome):
    claimed = deliveries.claim(session, 60)
    deliveries.settle(session, claimed, outcome)
    session.commit()
    return claimed


def test_a_message_is_claimed_by_one_service(session, session_factory, pond, add):
    add(pond, n=2, number=1)
    with session_factory() as one, session_factory() as other, session_factory() as third:
        first, second = deliveries.claim(one, 60), deliveries.claim(other, 60)
        assert first.id != second.id
        assert deliveries.claim(third, 60) is None
        assert (first.target, first.secret, first.data) == (pond.target, pond.secret, {"number": 1})


def test_one_at_a_time_goes_to_a_subscriber_where_it_is_asked_so(session, pond, add):
    other = make_subscription(session)
    add(pond, n=2)
    add(other)
    first = deliveries.claim(session, 60)
    assert first.subscription_id == pond.id
    second = deliveries.claim(session, 60, {pond.id})
    assert second.subscription_id == other.id
    assert deliveries.claim(session, 60, {pond.id, other.id}) is None
    assert deliveries.next_due_s(session, {pond.id, other.id}) is None


def test_a_message_is_sent_again_if_whoever_claimed_it_is_gone(session, pond, add):
    add(pond)
    first = deliveries.claim(session, 60)
    session.commit()
    assert deliveries.claim(session, 60) is None
    assert 50 < deliveries.next_due_s(session) <= 60
    due_now(session)
    second = deliveries.claim(session, 60)
    assert (second.id, second.attempt) == (first.id, 2)
    with pytest.raises(FencedError):
        deliveries.settle(session, first, FINE)
    assert deliveries.settle(session, second, FINE) == "delivered"
    row = row_of(session, second)
    assert (row.tries[0]["status_code"], row.tries[0]["error"]) == (204, None)
    assert row.finished_at is not None


def test_pauses_grow_and_differ(session, pond, add):
    add(pond)
    for number, pause_s in enumerate(TRY_AFTER_S, start=1):
        claimed = try_once(session, BROKEN)
        row = row_of(session, claimed)
        wait_s = (row.due_at - row.created_at.__class__.fromisoformat(row.tries[-1]["at"])).seconds
        assert 0.79 * pause_s - 1 <= wait_s <= 1.21 * pause_s
        assert (row.status, row.spent, len(row.tries)) == ("waiting", number, number)
        due_now(session)
    assert len({deliveries.pause_s(3) for _ in range(5)}) > 1


def test_a_receiver_may_ask_for_a_longer_pause_but_not_for_days(session, pond, add):
    add(pond)
    try_once(session, Outcome(429, 5, "The receiver answered 429.", retry_after_s=120.0))
    assert 100 < deliveries.next_due_s(session) <= 120
    assert deliveries.pause_s(1, 1e6) == deliveries.MOST_RETRY_AFTER_S


def test_a_message_is_given_up_after_the_last_try_and_the_subscription_with_it(session, pond, add):
    add(pond)
    for _ in range(len(TRY_AFTER_S)):
        try_once(session, BROKEN)
        due_now(session)
    pond.failing_since = func.now() - DEAD_AFTER
    session.commit()
    claimed = try_once(session, BROKEN)
    assert row_of(session, claimed).status == "given_up"
    assert pond.disabled_at is not None
    assert pond.disabled_reason.startswith("Nothing has arrived since 20")
    assert pond.disabled_reason.endswith("The receiver answered 500.")


def test_one_message_that_cannot_be_taken_ends_no_subscription_that_works(session, pond, add):
    add(pond)
    for _ in range(len(TRY_AFTER_S) + 1):
        claimed = try_once(session, BROKEN)
        due_now(session)
    # Something else arrived meanwhile, so nothing has been failing for a day.
    assert row_of(session, claimed).status == "given_up"
    assert pond.disabled_at is None
    add(pond)
    try_once(session, FINE)
    assert pond.failing_since is None


def test_a_receiver_that_is_gone_is_told_nothing_more(session, pond, add):
    add(pond, n=2)
    claimed = try_once(session, Outcome(410, 5, "It wants no more.", is_gone=True))
    assert row_of(session, claimed).status == "given_up"
    assert "410" in pond.disabled_reason
    assert deliveries.claim(session, 60) is None
    assert deliveries.next_due_s(session) is None


def test_what_waited_is_sent_once_the_subscription_is_on_again(session, pond, add):
    add(pond)
    subscriptions.enable(session, pond, is_enabled=False)
    session.commit()
    assert deliveries.claim(session, 60) is None
    subscriptions.enable(session, pond, is_enabled=True)
    assert deliveries.claim(session, 60) is not None


def test_a_message_is_sent_again_on_demand_with_the_same_id(session, pond, add):
    add(pond)
    claimed = try_once(session, FINE)
    row = deliveries.get(session, pond.id, claimed.id, lock=True)
    deliveries.send_again(session, row, pond)
    session.commit()
    assert try_once(session, FINE).id == claimed.id
    assert len(row_of(session, claimed).tries) == 2
    with pytest.raises(DeliveryNotFoundError):
        deliveries.get(session, make_subscription(session).id, claimed.id)


def test_nothing_is_sent_by_hand_to_one_that_is_off(session, pond, add):
    add(pond)
    claimed = try_once(session, BROKEN)
    subscriptions.enable(session, pond, is_enabled=False)
    with pytest.raises(SubscriptionDisabledError):
        deliveries.add_test(session, pond)
    with pytest.raises(SubscriptionDisabledError):
        deliveries.send_again(session, row_of(session, claimed), pond)


def test_a_test_is_a_message_like_any_other(session, pond):
    row = deliveries.add_test(session, pond)
    claimed = deliveries.claim(session, 60)
    assert (claimed.id, claimed.event) == (row.id, TEST)


def test_messages_beyond_the_bound_are_counted_and_dropped(session, pond, add, monkeypatch):
    assert MOST_WAITING == 5000
    monkeypatch.setattr("registry.deliveries.MOST_WAITING", 3)
    assert add(pond, n=2) == 2
    assert add(pond, n=4) == 1
    session.expire_all()
    assert (pond.n_dropped, deliveries.counts(session)) == (3, {pond.id: {"waiting": 3}})


def test_a_page_of_messages_is_followed_by_the_next(session, pond, add):
    add(pond, n=5)
    first = deliveries.list_of(session, pond.id, limit=3)
    rest = deliveries.list_of(session, pond.id, limit=3, cursor=first.next_cursor)
    ids = [row.id for row in (*first.items, *rest.items)]
    assert ids == sorted(ids, reverse=True)
    assert (len(ids), rest.next_cursor) == (5, None)


def test_old_messages_go_and_so_do_those_beyond_what_is_kept(session, pond, add, monkeypatch):
    monkeypatch.setattr("registry.deliveries.MOST_KEPT", 2)
    add(pond, n=6)
    ids = [row.id for row in deliveries.list_of(session, pond.id).items]
    for _ in range(4):
        try_once(session, FINE)
    session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.id == ids[0])
        .values(created_at=func.now() - timedelta(days=8))
    )
    assert deliveries.prune(session, limit=10) == 3
    assert deliveries.counts(session) == {pond.id: {"waiting": 1, "delivered": 2}}
