"""The embedded supervisor as the service runs it: a process of its own, killed in every way."""

import os
import signal
from functools import partial

import pytest
from sqlalchemy import text

from benchmarks.chaos.system import command
from registry import accuracy, events, learners, tasks, workers
from tests.factories import make_learner, make_task
from tests.processes import children, is_alive
from tests.waiting import wait_until, within
from tests.worker.waiting import has_ended, is_training, learn_process, wait_for
from worker.title import WAIT

A_FEW_SECONDS = {"epochs": 200, "augmentation": "none"}

pytestmark = [pytest.mark.slow, pytest.mark.chaos]


@pytest.fixture
def start_worker(run_worker):
    return partial(run_worker, worker_id="test", poll_s=0.05, stop_grace_s=2)


@pytest.fixture
def task_id(session_factory, blobs):
    with session_factory.begin() as session:
        make_learner(session, strategy="finetune")
        return make_task(session, blobs, config=A_FEW_SECONDS).id


def test_a_task_survives_kill_9_of_its_learn_process_and_then_of_its_worker(
    session_factory, start_worker, task_id
):
    worker = start_worker()
    wait_for(session_factory, task_id, is_training)
    os.kill(learn_process(worker), signal.SIGKILL)
    task = wait_for(session_factory, task_id, lambda task: task.status == "queued")
    assert (task.attempt, task.error["code"]) == (1, "worker-lost")
    assert "signal 9" in task.error["detail"]

    wait_for(session_factory, task_id, is_training)
    learning = learn_process(worker)
    worker.kill()
    worker.wait()
    with within(10):
        start_worker()
        wait_for(session_factory, task_id, lambda task: task.attempt == 3)
    assert not is_alive(learning)

    task = wait_for(session_factory, task_id, has_ended)
    assert (task.status, task.version) == ("succeeded", 1)
    with session_factory() as session:
        types = [event.type for event in events.list_events(session, task_id, limit=1000)]
        assert (types.count("started"), types.count("published"), types.count("end")) == (3, 1, 1)
        assert accuracy.history(session, task.learner_id).versions == [1]
        assert learners.live_version(session, task.learner_id) == 1


def test_a_task_is_heard_of_long_before_the_next_look(session_factory, start_worker, blobs):
    start_worker(poll_s=600, slots=2)
    # It looks once when it listens; nothing but a notification tells it of a task from then on.
    idle = text(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'filopodia-worker' "
        "AND query LIKE 'LISTEN%' AND state = 'idle'"
    )

    def is_idle():
        with session_factory() as session:
            return session.scalar(idle) == 1 and bool(workers.list_workers(session))

    wait_until(is_idle)
    with session_factory.begin() as session:
        make_learner(session)
        task_id = make_task(session, blobs).id
    with within(2):
        wait_for(session_factory, task_id, lambda task: task.attempt == 1)
    # The next one of the learner is free when this one has ended.
    with session_factory.begin() as session:
        later = make_task(session, blobs, classes=["wren"]).id
    assert wait_for(session_factory, later, has_ended).status == "succeeded"


def test_sigterm_gives_the_task_back(session_factory, start_worker, task_id):
    worker = start_worker()
    wait_for(session_factory, task_id, is_training)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait() == 0
    with session_factory() as session:
        task = tasks.get_task(session, task_id)
    assert (task.status, task.attempt, task.error) == ("queued", 0, None)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_the_process_that_waits_ends_with_its_worker(start_worker, end):
    worker = start_worker()
    waiting = wait_until(lambda: [pid for pid in children(worker.pid) if WAIT in command(pid)])
    with within(10):
        worker.send_signal(end)
        assert worker.wait() == (0 if end == signal.SIGTERM else -end)
        wait_until(lambda: not any(map(is_alive, waiting)))


def test_a_second_worker_of_the_same_name_does_not_start(start_worker):
    workers = [start_worker(), start_worker()]
    (ended,) = wait_until(lambda: [one for one in workers if one.poll() is not None])
    assert ended.returncode == 1
