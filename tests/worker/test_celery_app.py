"""The cluster's worker as it is run: Celery on a real Redis, processes that are really killed."""

import functools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from celery import Celery

from benchmarks.chaos.system import command
from registry import events, learners, tasks, workers
from registry.doorbell import QUEUE, Bell, Sweeper, celery_settings
from tests.factories import make_learner, make_task
from tests.processes import children, is_alive
from tests.waiting import wait_until, within
from tests.worker import waiting
from tests.worker.waiting import has_ended, is_training
from worker.title import WAIT

LONG = {"epochs": 100_000, "augmentation": "none"}
A_FEW_SECONDS = {"epochs": 100, "augmentation": "none"}

pytestmark = [pytest.mark.slow, pytest.mark.chaos]


@pytest.fixture
def start_worker(run_worker, redis_server):
    """A function that starts a worker of some name."""

    def start(name="one"):
        return run_worker(
            "worker", redis_url=redis_server.url, worker_id=name, ring_s=0.5, stop_grace_s=5
        )

    return start


@pytest.fixture
def sweeper(session_factory, redis_server):
    """What the service runs: rings for new tasks."""
    app = Celery("tests", set_as_current=False)
    app.conf.update(celery_settings(redis_server.url))
    sweeper = Sweeper(session_factory, Bell(app, redis_server.url), every_s=0.5)
    sweeper.start()
    yield sweeper
    sweeper.stop()


@pytest.fixture
def add_task(session_factory, blobs):
    """A function that adds a task to a learner, which it creates if it is new."""
    known = set()

    def add(learner="birds", config=None, label="heron"):
        with session_factory.begin() as session:
            if learner not in known:
                make_learner(session, learner, strategy="finetune")
                known.add(learner)
            task = make_task(session, blobs, learner, classes=(label,), config=config or {})
            return task.id

    return add


@pytest.fixture
def wait_for(session_factory):
    return functools.partial(waiting.wait_for, session_factory)


def pool_processes(worker):
    return [pid for pid in children(worker.pid) if is_alive(pid)]


def pool_process(worker):
    (pid,) = wait_until(lambda: pool_processes(worker))
    return pid


def attempts(session_factory, task_id):
    with session_factory() as session:
        log = events.list_events(session, task_id, limit=1000)
    return sum(event.type == "started" for event in log)


def test_two_workers_learn_two_learners_at_once_and_each_in_order(
    start_worker, sweeper, add_task, wait_for, session_factory
):
    first, second = add_task("birds", LONG), add_task("fish", LONG, "cod")
    after = add_task("birds", {"epochs": 1}, "crane")
    for name in ("one", "two"):
        start_worker(name)
    running = [wait_for(task_id, is_training) for task_id in (first, second)]
    assert {task.worker_id for task in running} == {"one", "two"}
    with session_factory() as session:
        assert tasks.get_task(session, after).status == "queued"
        assert {seen.row.id: seen.state for seen in workers.list_workers(session)} == {
            "one": "learning",
            "two": "learning",
        }
        tasks.request_cancel(session, first)
        session.commit()
    assert wait_for(first, has_ended).status == "cancelled"
    # The worker that is free now takes up what waited, with no further message.
    done = wait_for(after, has_ended)
    assert (done.status, done.worker_id) == ("succeeded", running[0].worker_id)


def test_killed_processes_are_replaced_and_their_task_taken_over_at_once(
    start_worker, sweeper, add_task, wait_for, session_factory
):
    task_id = add_task(config=A_FEW_SECONDS)
    worker = start_worker()
    wait_for(task_id, is_training)
    pool = pool_process(worker)
    (learn,) = children(pool)
    os.kill(pool, signal.SIGKILL)
    wait_for(task_id, lambda task: task.attempt == 2 and is_training(task))
    assert not is_alive(learn)
    pool = pool_process(worker)
    (learn,) = children(pool)
    worker.kill()
    worker.wait()
    worker = start_worker()
    done = wait_for(task_id, has_ended)
    assert (done.status, done.attempt, done.version) == ("succeeded", 3, 1)
    assert not is_alive(learn)
    assert not is_alive(pool)

    # A stop must reach the pool process that came after a killed one.
    killed = pool_process(worker)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: is_alive(killed) is False and pool_processes(worker))
    worker.terminate()
    assert worker.wait() == 0


def test_a_stopped_worker_gives_its_task_back_and_says_goodbye(
    start_worker, sweeper, add_task, wait_for, session_factory
):
    task_id = add_task(config=LONG)
    worker = start_worker()
    wait_for(task_id, is_training)
    with within(20):
        worker.terminate()
        assert worker.wait() == 0
    with session_factory() as session:
        task = tasks.get_task(session, task_id)
        assert (task.status, task.attempt) == ("queued", 0)
        assert [seen.state for seen in workers.list_workers(session)] == ["stopped"]


def test_a_process_waits_for_the_next_task_and_ends_with_its_worker(
    start_worker, sweeper, add_task, wait_for
):
    worker = start_worker()
    pool = pool_process(worker)
    # One that has just been started still has its parent's words for a moment.
    (waiting,) = wait_until(lambda: [pid for pid in children(pool) if WAIT in command(pid)])
    for label in ("heron", "egret"):
        done = wait_for(add_task(label=label, config={"epochs": 1}), has_ended)
        assert (done.status, done.attempt) == ("succeeded", 1)
        # The same one has learned both.
        assert children(pool) == [waiting]
    with within(20):
        worker.terminate()
        assert worker.wait() == 0
    wait_until(lambda: not is_alive(waiting))


def test_an_emptied_redis_and_a_dead_one_cost_seconds_and_junk_costs_nothing(
    start_worker, sweeper, add_task, wait_for, session_factory, redis_server
):
    client = redis.Redis.from_url(redis_server.url)
    queue_key = f"filopodia:{QUEUE}"
    worker = start_worker()
    wait_for(add_task(config={"epochs": 1}), has_ended)
    for junk in ("not json", "{}", '{"body": "W10="}', "\x00\xff"):
        client.lpush(queue_key, junk)
    app = Celery("stranger", set_as_current=False)
    app.conf.update(celery_settings(redis_server.url))
    app.send_task("no.such.task", ["x"])
    for arguments in ([], ["\x00"], ["tsk_nobody"], [{"a": 1}], ["x" * 10_000]):
        app.send_task("filopodia.learn", arguments)
    second = add_task(label="crane", config={"epochs": 1})
    for _ in range(10):
        app.send_task("filopodia.learn", [second])
    assert wait_for(second, has_ended).attempt == 1
    wait_until(lambda: client.llen(queue_key) == 0)
    assert worker.poll() is None

    client.flushall()
    redis_server.kill()
    third = add_task(label="egret", config={"epochs": 1})
    # The worker finds it by itself.
    assert wait_for(third, has_ended).status == "succeeded"
    redis_server.start()
    fourth = add_task(label="ibis", config={"epochs": 1})
    assert wait_for(fourth, has_ended).status == "succeeded"
    assert worker.poll() is None
    with session_factory() as session:
        assert learners.get_learner(session, "birds").head_version == 4
    assert [attempts(session_factory, task_id) for task_id in (second, third, fourth)] == [1, 1, 1]


def test_a_second_worker_of_the_same_name_gives_up(start_worker, tmp_path, wait_for, add_task):
    first = start_worker()
    wait_until((Path(tmp_path) / "worker-one.lock").exists)
    second = start_worker()
    second.wait()
    assert first.poll() is None


def test_without_a_database_url_it_says_so(tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    environment["FILOPODIA_DATA_DIR"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "worker"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr
