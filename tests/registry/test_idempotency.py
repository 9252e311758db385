from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, update

from registry import idempotency
from registry.errors import IdempotencyInProgressError, IdempotencyKeyReusedError
from registry.idempotency import StoredAnswer
from registry.tables import IdempotencyRow

SCOPE, KEY, BODY = "abc POST /v1/learners", "key-1", "0" * 64
ANSWER = StoredAnswer(201, {"location": "/v1/learners/birds"}, {"name": "birds"})


def finish(session):
    idempotency.finish(
        session,
        SCOPE,
        KEY,
        status_code=ANSWER.status_code,
        headers=ANSWER.headers,
        body=ANSWER.body,
    )


def age(session, **how_long):
    past = func.now() - timedelta(**how_long)
    session.execute(update(IdempotencyRow).values(created_at=past))


def test_the_first_answer_again(session):
    assert idempotency.begin(session, SCOPE, KEY, BODY) is None
    finish(session)
    assert idempotency.begin(session, SCOPE, KEY, BODY) == ANSWER
    assert idempotency.begin(session, "another POST /x", KEY, BODY) is None


def test_another_body_is_refused(session):
    idempotency.begin(session, SCOPE, KEY, BODY)
    with pytest.raises(IdempotencyKeyReusedError):
        idempotency.begin(session, SCOPE, KEY, "1" * 64)
    finish(session)
    with pytest.raises(IdempotencyKeyReusedError):
        idempotency.begin(session, SCOPE, KEY, "1" * 64)


def test_still_running(session):
    idempotency.begin(session, SCOPE, KEY, BODY)
    with pytest.raises(IdempotencyInProgressError):
        idempotency.begin(session, SCOPE, KEY, BODY)


def test_an_abandoned_key_is_free_again_a_finished_one_not(session):
    idempotency.begin(session, SCOPE, KEY, BODY)
    idempotency.abandon(session, SCOPE, KEY)
    assert idempotency.begin(session, SCOPE, KEY, BODY) is None
    finish(session)
    idempotency.abandon(session, SCOPE, KEY)
    assert idempotency.begin(session, SCOPE, KEY, BODY) == ANSWER
    with pytest.raises(IdempotencyInProgressError):
        finish(session)


def test_a_request_that_died_frees_its_key(session):
    idempotency.begin(session, SCOPE, KEY, BODY)
    age(session, minutes=11)
    assert idempotency.begin(session, SCOPE, KEY, BODY) is None
    assert idempotency.abandon_unfinished(session) == 1
    assert idempotency.begin(session, SCOPE, KEY, BODY) is None


def test_answers_are_kept_for_a_day(session):
    idempotency.begin(session, SCOPE, KEY, BODY)
    finish(session)
    age(session, hours=23)
    assert idempotency.begin(session, SCOPE, KEY, BODY) == ANSWER
    assert idempotency.sweep(session) == 0
    age(session, hours=25)
    assert idempotency.begin(session, SCOPE, KEY, "1" * 64) is None
    age(session, hours=25)
    assert idempotency.sweep(session) == 1


def test_of_many_at_once_one_is_first(session_factory):
    def send(_):
        try:
            with session_factory.begin() as session:
                return idempotency.begin(session, SCOPE, KEY, BODY)
        except IdempotencyInProgressError:
            return "later"

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))
    assert sorted(answers, key=str) == [None, *["later"] * 7]
