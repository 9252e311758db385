"""A learn process that waits, here in the process of the test; real ones are in `test_standby.py`."""

import random
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from models.strategies.simplecil import SimpleCIL
from registry import queue, tasks
from tests.factories import make_learner, make_task
from tests.waiting import wait_until
from tests.worker.learned import put, task_of
from worker.handover import Line
from worker.settings import WorkerSettings
from worker.waiting import _Waiting


@pytest.fixture
def settings(database_url, tmp_path, blobs):
    return WorkerSettings(
        data_dir=tmp_path, database_url=database_url, device="cpu", blob_url=str(blobs.root)
    )


@pytest.fixture
def worker():
    """The worker's end of the line, and the socket of the other."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Line(ours), theirs


@pytest.fixture
def process(settings, worker):
    before = signal.getsignal(signal.SIGTERM)
    yield _Waiting(settings, Line(worker[1]))
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def claim(session_factory, blobs):
    """A function that adds a task to a learner of that name and claims it."""

    def run(learner, **task):
        with session_factory.begin() as session:
            make_learner(session, learner)
            task_id = make_task(session, blobs, learner, **task).id
        with session_factory.begin() as session:
            return task_id, queue.claim(session, task_id, "w", 30).token

    return run


@pytest.fixture
def status(session_factory):
    def run(task_id):
        with session_factory() as session:
            return tasks.get_task(session, task_id).status

    return run


def heard(line):
    """Return all that was said so far."""
    words = []
    while line.is_spoken_to():
        words.append(line.hear(0))
    return words


def test_it_runs_what_it_is_given_and_ends_after_so_many(
    process, worker, claim, status, monkeypatch
):
    monkeypatch.setattr("worker.waiting.MOST_ATTEMPTS", 2)
    line, _ = worker
    claimed = [claim("birds"), claim("fish"), claim("moths")]
    for words in claimed:
        line.say(*words)
    assert process.run() == 0
    # The worker knows how the last one ended by the exit code.
    assert heard(line) == [["ready"], ["taken"], ["ended", "0"], ["taken"]]
    assert [status(task_id) for task_id, _ in claimed] == ["succeeded", "succeeded", "running"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_it_ends_after_what_did_not_go_well(process, worker, claim, status):
    line, _ = worker
    (failing, token), stale = claim("birds", config={"nonsense": 1}), claim("fish")
    line.say(failing, token)
    line.say(*stale)
    assert process.run() == 0
    assert heard(line) == [["ready"], ["taken"]]
    assert (status(failing), status(stale[0])) == ("failed", "running")


def test_it_ends_with_its_exit_code_if_the_attempt_is_no_longer_current(
    process, worker, claim, status
):
    line, _ = worker
    task_id, token = claim("birds")
    line.say(task_id, token + 1)
    assert process.run() == 1
    assert status(task_id) == "running"


def test_it_does_not_begin_what_a_worker_gave_it_that_has_gone(process, worker, claim, status):
    line, _ = worker
    task_id, token = claim("birds")
    line.say(task_id, token)
    line.close()
    assert process.run() == 0
    assert status(task_id) == "running"


def test_it_ends_when_nobody_is_there_to_give_it_anything(process, worker):
    worker[0].close()
    assert process.run() == 0


def test_it_lets_go_of_what_it_has_just_published_after_a_while(
    process, worker, blobs, monkeypatch
):
    monkeypatch.setattr("worker.waiting.QUIET_S", 0.0)
    monkeypatch.setattr("worker.waiting.KEEP_LEARNER_S", 0.0)
    warm = process._warm
    learner = SimpleCIL(warm.backbone("tiny"), SimpleCIL.config_type())
    learner.learn(task_of(learner.backbone, 1, "heron", "crane"))
    warm.keep(put(blobs, learner), learner, 1000)
    with ThreadPoolExecutor(1) as pool:
        hearing = pool.submit(process._hear_next)
        try:
            wait_until(lambda: warm._learner is None)
        finally:
            worker[0].say("tsk_1", 2)
        assert hearing.result() == ["tsk_1", "2"]


def test_what_is_drawn_at_random_is_what_a_new_process_would_draw(process):
    def draw():
        process._forget_random()
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draw() == draw()
