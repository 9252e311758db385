import signal

import pytest
from celery import Celery

from registry import queue
from registry.doorbell import QUEUE, Bell, BellError, Sweeper, celery_settings
from tests.factories import make_learner, make_task
from tests.waiting import wait_until, within


@pytest.fixture
def bell(redis_server):
    app = Celery("tests", set_as_current=False)
    app.conf.update(celery_settings(redis_server.url))
    return Bell(app, redis_server.url)


@pytest.fixture
def n_rings(redis_server):
    import redis

    client = redis.Redis.from_url(redis_server.url)
    yield lambda: client.llen(f"filopodia:{QUEUE}")
    client.close()


@pytest.fixture
def task(session, blobs):
    make_learner(session)
    task = make_task(session, blobs)
    make_task(session, blobs, classes=("crane",))
    session.commit()
    return task


def test_rings_once_in_an_interval_whoever_looks(session_factory, bell, n_rings, task):
    first = Sweeper(session_factory, bell, every_s=600)
    second = Sweeper(session_factory, bell, every_s=600)
    # Two tasks of one learner: only the first may be learned now.
    assert (first.look(), second.look(), first.look()) == (1, 0, 0)
    assert n_rings() == 1
    assert Sweeper(session_factory, bell, every_s=0).look() == 1


def test_rings_at_once_for_a_task_that_comes_back(session_factory, bell, task):
    sweeper = Sweeper(session_factory, bell, every_s=600)
    assert sweeper.look() == 1
    with session_factory.begin() as session:
        claimed = queue.claim(session, task.id, "w", 30)
    assert sweeper.look() == 0
    with session_factory.begin() as session:
        queue.give_back(session, task.id, claimed.token)
    assert sweeper.look() == 1


def test_a_task_is_rung_for_after_an_outage(redis_server, session_factory, bell, n_rings, task):
    sweeper = Sweeper(session_factory, bell, every_s=0.1)
    redis_server.kill()
    sweeper.start()
    try:
        wait_until(lambda: not sweeper.is_up)
        redis_server.start()
        wait_until(lambda: sweeper.is_up and n_rings())
    finally:
        sweeper.stop()


def test_a_frozen_redis_is_given_up_soon(redis_server, bell):
    bell.check()
    redis_server.signal(signal.SIGSTOP)
    with within(20):
        with pytest.raises(BellError):
            bell.check()
        with pytest.raises(BellError):
            bell.ring("tsk_1")
    redis_server.signal(signal.SIGCONT)
