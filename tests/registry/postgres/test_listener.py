"""What one process commits, another one hears of at once; what it does not hear, it only notices later."""

import threading

import pytest
from sqlalchemy import text

from registry import classes, keys, learners, queue, tasks
from registry.postgres.database import make_engine, make_session_factory
from registry.postgres.listener import CHECK_S, SERVING, TASKS, Listener
from tests.factories import make_learner, make_task, publish_task
from tests.waiting import wait_until, within

PROMPT_S = 1.0
A_WHILE_S = 60.0
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
MARK = "filopodia_tests"
"""A channel of our own: what is heard on it was committed after all else."""


class Ear:
    """Counts what is heard; knows when all that was committed so far has been."""

    def __init__(self, sessions, writers):
        self.counts = {SERVING: 0, TASKS: 0, MARK: 0}
        self.listener = Listener(
            sessions,
            {channel: [lambda channel=channel: self.count(channel)] for channel in self.counts},
        )
        self._writers = writers

    def count(self, channel):
        self.counts[channel] += 1

    def heard(self):
        """Return the channels heard since the last call, after all that was committed before this one."""
        with self._writers.begin() as session:
            before = self.counts[MARK]
            session.execute(text(f"NOTIFY {MARK}"))
        wait_until(lambda: self.counts[MARK] > before)
        found = {name for name in (SERVING, TASKS) if self.counts[name]}
        self.counts.update({SERVING: 0, TASKS: 0})
        return found


@pytest.fixture
def sessions(postgres, session_factory):
    """Sessions of the process that listens."""
    engine = make_engine(postgres.url, application_name="listening")
    yield make_session_factory(engine)
    engine.dispose()


@pytest.fixture
def ear(sessions, session_factory):
    ear = Ear(sessions, session_factory)
    ear.listener.start()
    wait_until(lambda: ear.listener.is_listening and ear.counts[MARK])
    ear.heard()
    yield ear
    ear.listener.stop()


def test_it_wakes_at_once_and_when_it_has_connected(sessions, session_factory):
    woken = threading.Event()
    listener = Listener(sessions, {TASKS: [woken.set]})
    listener.start()
    assert woken.wait(A_WHILE_S)
    woken.clear()
    with session_factory.begin() as session:
        session.execute(text(f"NOTIFY {TASKS}"))
    with within(PROMPT_S):
        assert woken.wait(A_WHILE_S)
    # However long the silence is.
    with within(PROMPT_S):
        listener.stop()
    assert listener.thread.state == "down"
    wait_until(lambda: not connections(session_factory))


def test_what_may_be_served_is_heard(ear, session_factory, blobs):
    def after(change, *arguments, **options):
        with session_factory.begin() as session:
            found.append(change(session, *arguments, **options))
        return ear.heard()

    def learn(session, name):
        return publish_task(session, make_task(session, blobs, classes=[name]))

    found = []
    after(make_learner)
    birds = found[-1]
    assert after(learn, "heron") == {SERVING, TASKS}
    assert after(learn, "wren") == {SERVING, TASKS}
    assert after(learners.set_alias, birds.id, 2) == set()
    assert after(learners.set_alias, birds.id, 1) == {SERVING}
    assert after(classes.rename, birds, "wren", "Wren") == {SERVING}
    assert after(keys.create_key, "k", "reader") == {SERVING}
    key = found[-1][0]
    assert after(keys.note_used, {key.id: 1.0}) == set()
    assert after(keys.revoke_key, key.id) == {SERVING}
    assert after(learners.delete_learner, "birds") == {SERVING}


def test_what_frees_a_task_is_heard_and_what_takes_it_up_is_not(ear, session_factory, blobs):
    def after(change, *arguments):
        with session_factory.begin() as session:
            found.append(change(session, *arguments))
        return ear.heard()

    found = []
    after(make_learner)
    assert after(make_task, blobs) == {TASKS}
    task_id = found[-1].id
    assert after(queue.claim_next, "w", 30) == set()
    attempt = task_id, found[-1].token
    assert after(queue.heartbeat, *attempt, 30) == set()
    progress = {**tasks.INITIAL_PROGRESS, "phase": "training"}
    assert after(queue.update_progress, *attempt, progress) == set()
    assert after(queue.requeue_task, *attempt, "worker-lost", "It is gone.", 0) == {TASKS}
    assert after(tasks.request_cancel, task_id) == {TASKS}
    assert after(tasks.retry_task, task_id) == {TASKS}


def test_what_is_rolled_back_is_not_heard(ear, session_factory, blobs):
    with session_factory() as session:
        make_learner(session)
        make_task(session, blobs)
        session.flush()
        session.rollback()
    assert ear.heard() == set()


def test_what_comes_together_is_heard_once(sessions, session_factory, blobs):
    begun, go_on, n = threading.Event(), threading.Event(), [0]

    def wake():
        n[0] += 1
        begun.set()
        assert go_on.wait(A_WHILE_S)

    listener = Listener(sessions, {TASKS: [wake]})
    listener.start()
    assert begun.wait(A_WHILE_S)  # it looks since it has connected
    with session_factory.begin() as session:
        make_learner(session)
    for i in range(20):
        with session_factory.begin() as session:
            make_task(session, blobs, classes=[f"class {i}"], n_train=1, n_eval=0)
    go_on.set()
    wait_until(lambda: n[0] == 2)
    listener.stop()
    assert n[0] == 2


def test_a_lost_connection_is_made_again_and_what_was_missed_is_looked_for(ear, session_factory):
    for _ in range(2):
        ear.counts[SERVING] = 0
        with session_factory.begin() as session:
            [pid] = connections(session_factory)
            session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        wait_until(lambda: ear.counts[SERVING])
        assert ear.listener.is_listening
        assert ear.listener.thread.state == "up"
    ear.heard()
    with session_factory.begin() as session:
        session.execute(text(f"NOTIFY {TASKS}"))
    assert ear.heard() == {TASKS}


def test_a_database_that_is_away_is_not_heard_and_breaks_nothing():
    engine = make_engine(NOWHERE, application_name="listening")
    woken = threading.Event()
    listener = Listener(make_session_factory(engine), {TASKS: [woken.set]})
    listener.start()
    with within(PROMPT_S):
        listener.stop()
    assert (woken.is_set(), listener.is_listening, listener.thread.failures) == (False, False, 0)


def test_a_silent_connection_is_asked_now_and_then(sessions, session_factory, monkeypatch):
    assert CHECK_S >= 30
    monkeypatch.setattr("registry.postgres.listener.CHECK_S", 0.05)
    listener = Listener(sessions, {TASKS: [lambda: None]})
    listener.start()
    asked = "SELECT query FROM pg_stat_activity WHERE application_name = 'listening'"

    def last():
        with session_factory() as session:
            return session.scalars(text(asked)).all()

    wait_until(lambda: last() == ["SELECT 1"])
    assert listener.is_listening
    listener.stop()


def connections(session_factory):
    """Return the server's processes for whoever listens."""
    query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'listening'"
    with session_factory() as session:
        return session.scalars(text(query)).all()
