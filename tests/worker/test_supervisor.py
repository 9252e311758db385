"""One attempt under a real supervisor: a real learn process, a real database."""

import math
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from registry import queue, tasks, time_limits
from registry.postgres.database import make_engine, make_session_factory
from tests.factories import make_learner, make_task
from tests.processes import children, is_alive
from tests.waiting import wait_until, within
from worker.settings import WorkerSettings
from worker.supervisor import _limit_s, supervise

ENDLESS = {"epochs": 100_000, "augmentation": "none"}

pytestmark = [pytest.mark.slow, pytest.mark.chaos]


@pytest.fixture
def settings(database_url, tmp_path):
    return WorkerSettings(
        data_dir=tmp_path,
        database_url=database_url,
        heartbeat_s=0.2,
        lease_s=10,
        stop_grace_s=5,
        device="cpu",
        torch_threads=1,
        progress_s=0.1,
    )


@pytest.fixture
def claimed(session_factory, blobs):
    """A claimed task that would take for ever."""
    with session_factory.begin() as session:
        make_learner(session, strategy="finetune")
        make_task(session, blobs, config=ENDLESS)
    with session_factory.begin() as session:
        return queue.claim_next(session, "w", 10)


@pytest.fixture
def supervised(session_factory, settings, claimed):
    """The thread that supervises the task, which is in the middle of training."""
    stop = threading.Event()
    thread = threading.Thread(
        target=supervise,
        args=(claimed,),
        kwargs={"session_factory": session_factory, "settings": settings, "stop": stop},
    )
    thread.start()
    try:
        wait_until(lambda: task_now(session_factory, claimed.id).progress["phase"] == "training")
        yield thread
    finally:
        stop.set()
        thread.join()


def task_now(session_factory, task_id):
    with session_factory() as session:
        return tasks.get_task(session, task_id)


def test_cancel_in_the_middle_of_training(session_factory, claimed, supervised):
    with within(5):
        with session_factory.begin() as session:
            assert tasks.request_cancel(session, claimed.id).status == "cancelling"
        supervised.join()
    assert task_now(session_factory, claimed.id).status == "cancelled"


def test_a_lost_lease_ends_the_attempt(session_factory, claimed, supervised):
    # In one transaction: between two, the attempt might take its lease again.
    with session_factory.begin() as session:
        queue.release_leases(session, "w")
        taken_over = queue.claim_next(session, "other", 10)
    supervised.join()
    task = task_now(session_factory, claimed.id)
    assert (task.status, task.token) == ("running", taken_over.token)


def test_the_time_limit_fails_the_task(session_factory, settings, claimed):
    limited = settings.model_copy(update={"task_time_limit_s": 1.0})
    supervise(claimed, session_factory=session_factory, settings=limited, stop=threading.Event())
    task = task_now(session_factory, claimed.id)
    assert (task.status, task.error["code"]) == ("failed", "time-limit")
    assert "1 seconds" in task.error["detail"]


def test_an_attempt_that_is_stuck_ends_at_the_limit_that_fits_its_task(
    session_factory, settings, claimed, monkeypatch
):
    """Stopped, so that it hears no signal but the last one: as a process stuck in a driver."""
    monkeypatch.setattr("registry.time_limits.FLOOR_S", 2.0)
    monkeypatch.setattr("registry.time_limits.PASS_S", 0.001)
    unset = settings.model_copy(update={"task_time_limit_s": None})
    run = threading.Thread(
        target=supervise,
        args=(claimed,),
        kwargs={"session_factory": session_factory, "settings": unset, "stop": threading.Event()},
    )
    run.start()
    (pid,) = wait_until(lambda: learn_processes(claimed))
    os.kill(pid, signal.SIGSTOP)
    run.join()
    task = task_now(session_factory, claimed.id)
    assert (task.status, task.error["code"]) == ("failed", "time-limit")
    assert "FILOPODIA_TASK_TIME_LIMIT_S" in task.error["detail"]
    assert not is_alive(pid)


def test_the_limit_grows_with_the_task_and_zero_is_none(session_factory, settings, claimed):
    def limit(**update):
        changed = settings.model_copy(update={"task_time_limit_s": None, **update})
        return _limit_s(claimed, session_factory, changed)

    assert time_limits.FLOOR_S < limit() < time_limits.MOST_S
    assert limit(task_time_limit_s=0) == math.inf
    assert limit(task_time_limit_s=7) == 7


def test_an_error_of_the_worker_leaves_nobody_learning(
    session_factory, settings, claimed, monkeypatch
):
    def fail(*_):
        raise RuntimeError("unexpected")

    monkeypatch.setattr("worker.supervisor._beat", fail)
    prompt = settings.model_copy(update={"heartbeat_s": 0.1})
    with pytest.raises(RuntimeError, match="unexpected"):
        supervise(claimed, session_factory=session_factory, settings=prompt, stop=threading.Event())
    task = task_now(session_factory, claimed.id)
    assert (task.status, task.error["code"]) == ("queued", "worker-lost")
    assert learn_processes(claimed) == []


def test_a_learn_process_that_cannot_be_started_is_tried_again_later(
    session_factory, settings, claimed, monkeypatch
):
    monkeypatch.setattr("worker.learn_process.sys.executable", "/nowhere/python")
    supervise(claimed, session_factory=session_factory, settings=settings, stop=threading.Event())
    task = task_now(session_factory, claimed.id)
    assert (task.status, task.error["code"]) == ("queued", "worker-lost")


def learn_processes(claimed):
    """Return the processes of this test that learn the task."""
    found = []
    for pid in children(os.getpid()):
        with suppress(OSError):
            if claimed.id.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def test_settling_waits_for_the_database_but_not_past_a_stop(settings, claimed):
    """With the database gone the attempt can neither run nor be settled; a stop ends the waiting."""
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    gone = settings.model_copy(update={"database_url": None})
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    with within(20):
        supervise(
            claimed,
            session_factory=make_session_factory(make_engine(nowhere, application_name="tests")),
            settings=gone,
            stop=stop,
        )
