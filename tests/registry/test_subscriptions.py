"""Subscriptions as rows."""

import base64
from threading import Thread

import pytest

from registry import deliveries, learners, subscriptions
from registry.deliveries import NewMessage
from registry.errors import SubscriptionNotFoundError
from registry.notices import PREDICTED, TASK_ENDED, UNKNOWN_FOUND, Rule
from registry.scopes import limited_to
from tests.factories import make_learner, make_subscription


def test_each_has_a_secret_of_its_own_as_the_specification_writes_it(session):
    one, other = make_subscription(session), make_subscription(session)
    assert one.secret != other.secret
    prefix, _, rest = one.secret.partition("_")
    assert prefix == "whsec"
    assert len(base64.b64decode(rest, validate=True)) == 32


def test_who_listens_for_a_learner_s_event(session):
    birds, fish = make_learner(session, "birds"), make_learner(session, "fish")
    all_of_it = make_subscription(session)
    of_birds = make_subscription(session, PREDICTED, learner=birds)
    of_fish = make_subscription(session, PREDICTED, TASK_ENDED, learner=fish)
    off = make_subscription(session)
    subscriptions.enable(session, off, is_enabled=False)

    def listening(event, *learner_ids):
        return [one.id for one in subscriptions.listening(session, event, learner_ids)]

    assert listening(PREDICTED, birds.id) == [all_of_it.id, of_birds.id]
    assert listening(PREDICTED, birds.id, fish.id) == [all_of_it.id, of_birds.id, of_fish.id]
    assert listening(TASK_ENDED, birds.id) == [all_of_it.id]


def test_what_a_limited_key_does_is_told_to_those_that_it_cannot_see(session, session_factory):
    birds = make_learner(session)
    there = make_subscription(session).id
    session.commit()
    with limited_to(session_factory, [birds.id])() as limited:
        assert subscriptions.list_all(limited) == []
        assert [one.id for one in subscriptions.listening(limited, PREDICTED, [birds.id])] == [
            there
        ]
        deliveries.add(limited, [NewMessage(there, birds.id, PREDICTED, {})])
        limited.commit()
    assert deliveries.counts(session) == {there: {"waiting": 1}}


def test_one_that_is_deleted_meanwhile_takes_no_other_transaction_down(session, session_factory):
    birds = make_learner(session)
    one = make_subscription(session)
    session.commit()
    subscriptions.remove(session, one.id)
    found = []

    def listen():
        with session_factory.begin() as other:
            rows = subscriptions.listening(other, PREDICTED, [birds.id])
            found.append([row.id for row in rows])

    thread = Thread(target=listen)
    thread.start()
    session.commit()
    thread.join()
    assert found == [[]]


def test_a_learner_takes_its_subscriptions_and_messages_along(session):
    birds = make_learner(session)
    own, other = make_subscription(session, learner=birds), make_subscription(session)
    deliveries.add(session, [NewMessage(one.id, birds.id, PREDICTED, {}) for one in (own, other)])
    learners.delete_learner(session, "birds")
    session.commit()
    assert [one.id for one in subscriptions.list_all(session)] == [other.id]
    assert deliveries.counts(session) == {}


def test_one_that_is_changed_says_the_new_rule(session):
    one = make_subscription(session, PREDICTED, labels=["heron"])
    locked = subscriptions.get(session, one.id, lock=True)
    subscriptions.change(
        session, locked, {"name": "lake", "rule": Rule(labels=("egret",)).stored()}
    )
    session.commit()
    again = subscriptions.get(session, one.id)
    assert (again.name, again.rule, again.events) == ("lake", {"labels": ["egret"]}, [PREDICTED])


def test_what_is_not_there_cannot_be_read_or_removed(session):
    with pytest.raises(SubscriptionNotFoundError):
        subscriptions.get(session, "sub_0000000000")
    with pytest.raises(SubscriptionNotFoundError):
        subscriptions.remove(session, "sub_0000000000")


def test_of_several_services_one_looks_for_unknown_images(session, session_factory):
    one, _ = make_subscription(session, UNKNOWN_FOUND), make_subscription(session, PREDICTED)
    session.commit()
    assert subscriptions.claim_look(session, 60.0).id == one.id
    with session_factory() as other:
        assert subscriptions.claim_look(other, 60.0) is None  # the first one holds it
        session.commit()
        assert subscriptions.claim_look(other, 60.0) is None  # and has just looked
        assert subscriptions.claim_look(other, 0.0).id == one.id
