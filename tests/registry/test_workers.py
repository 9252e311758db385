from datetime import timedelta

import pytest
from sqlalchemy import func, update

from registry import queue, workers
from registry.tables import WorkerRow
from tests.factories import make_learner, make_task


@pytest.fixture
def announced(session):
    announce(session, "w1")
    session.commit()


def announce(session, worker_id):
    workers.announce(
        session,
        worker_id,
        kind="celery",
        host="h",
        pid=1,
        device="cpu",
        slots=1,
        version="0",
    )


def states(session):
    return {seen.row.id: seen.state for seen in workers.list_workers(session)}


def let_time_pass(session, hours):
    past = func.now() - timedelta(hours=hours)
    session.execute(update(WorkerRow).values(seen_at=past))
    session.commit()


def test_a_worker_is_idle_then_learning(session, blobs, announced):
    assert states(session) == {"w1": "idle"}
    make_learner(session)
    task = make_task(session, blobs)
    session.commit()
    queue.claim(session, task.id, "w1", 30)
    session.commit()
    (seen,) = workers.list_workers(session)
    assert seen.state == "learning"
    assert [(held.id, learner) for held, learner in seen.learning] == [(task.id, "birds")]


def test_a_silent_worker_is_lost_until_it_is_seen_again(session, announced):
    let_time_pass(session, 1)
    assert states(session) == {"w1": "lost"}
    workers.see(session, "w1")
    session.commit()
    assert states(session) == {"w1": "idle"}


def test_a_worker_that_said_goodbye_has_stopped(session, announced):
    workers.leave(session, "w1")
    session.commit()
    let_time_pass(session, 1)
    assert states(session) == {"w1": "stopped"}
    announce(session, "w1")
    session.commit()
    assert states(session) == {"w1": "idle"}


def test_workers_are_forgotten_after_a_day(session, announced):
    let_time_pass(session, 25)
    assert states(session) == {}
    workers.forget_gone(session)
    session.commit()
    assert session.get(WorkerRow, "w1") is None
