"""Real learn processes, killed or stopped in the middle of training: another attempt goes on and ends with the same."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from registry import queue, tasks, versions
from tests.factories import make_learner, make_task
from tests.waiting import is_within, wait_until, within
from worker.settings import WorkerSettings
from worker.supervisor import supervise

A_FEW_SECONDS = {"epochs": 400, "bottleneck": 4}

pytestmark = [pytest.mark.slow, pytest.mark.chaos]


@pytest.fixture
def settings(database_url, tmp_path):
    return WorkerSettings(
        data_dir=tmp_path,
        database_url=database_url,
        heartbeat_s=0.2,
        device="cpu",
        torch_threads=1,
        progress_s=0.1,
        checkpoint_s=0.1,
        # Far longer than stopping takes on any machine.
        stop_grace_s=200,
    )


@pytest.fixture
def add(session_factory, blobs):
    """A function that makes a learner with a queued task, always the same, and returns the task's id."""

    def run(name="birds", config=A_FEW_SECONDS):
        with session_factory.begin() as session:
            make_learner(session, name, strategy="synaptic_intelligence", config=config)
            return make_task(session, blobs, name, config=config, seed=5).id

    return run


@pytest.fixture
def claim(session_factory):
    def run(task_id):
        with session_factory.begin() as session:
            return queue.claim(session, task_id, "w", 30)

    return run


@pytest.fixture
def now(session_factory):
    """A function that returns a task as it is now."""

    def run(task_id):
        with session_factory() as session:
            return tasks.get_task(session, task_id)

    return run


@pytest.fixture
def learn(session_factory, settings, claim):
    """A function that supervises an attempt to its end, or until `until()` and a stop; returns how long that took."""

    def run(task_id, until=None):
        stop = threading.Event()
        supervising = threading.Thread(
            target=supervise,
            args=(claim(task_id),),
            kwargs={"session_factory": session_factory, "settings": settings, "stop": stop},
        )
        supervising.start()
        try:
            if until is not None:
                wait_until(until)
                stop.set()
            stopped = time.monotonic()
            supervising.join()
            return time.monotonic() - stopped
        finally:
            stop.set()
            supervising.join()

    return run


@pytest.fixture
def manifest(session_factory, now):
    def run(task_id):
        task = now(task_id)
        assert task.status == "succeeded", (task.status, task.error)
        with session_factory() as session:
            return versions.get_version(session, task.learner_id, task.version).manifest_sha256

    return run


def test_killed_and_stopped_it_ends_with_the_same_artifact(
    session_factory, blobs, settings, add, claim, now, learn, manifest
):
    twin, task_id = add("twin"), add()
    images = set(blobs.root.glob("sha256/*/*"))
    learn(twin)
    of_twin = set(blobs.root.glob("sha256/*/*")) - images

    claimed = claim(task_id)
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.learn", task_id, str(claimed.token)],
        env=settings.environment(),
    )
    wait_until(lambda: now(task_id).checkpoint)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    killed = now(task_id)
    assert (killed.status, killed.progress["phase"]) == ("running", "training")
    with session_factory.begin() as session:
        queue.requeue_task(session, task_id, claimed.token, "worker-lost", "Killed.", 0.0)

    seconds = learn(task_id, until=lambda: now(task_id).checkpoint != killed.checkpoint)
    stopped = now(task_id)
    assert is_within(seconds, 20)
    # Stopping does not count as an attempt, nor does it take the grace it could have.
    assert (stopped.status, stopped.attempt) == ("queued", 1)
    assert stopped.checkpoint not in (None, killed.checkpoint)
    assert seconds < settings.stop_grace_s

    learn(task_id)
    assert manifest(task_id) == manifest(twin)
    assert now(task_id).checkpoint is None
    # But for an orphan if the kill came between a blob and its name.
    left = set(blobs.root.glob("sha256/*/*")) - images - of_twin
    assert len(left) <= 1


def test_a_cancel_does_not_wait_for_a_checkpoint(session_factory, settings, add, now, learn):
    task_id = add(config={"epochs": 100_000, "bottleneck": 4})
    cancelling = threading.Thread(target=learn, args=(task_id,))
    cancelling.start()
    wait_until(lambda: now(task_id).checkpoint)
    with session_factory.begin() as session:
        tasks.request_cancel(session, task_id)
    with within(5):
        cancelling.join()
    task = now(task_id)
    assert (task.status, task.checkpoint) == ("cancelled", None)
