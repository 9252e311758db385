"""Consolidations under real workers: put down for a task, killed, cancelled; never beside a task of their learner."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from registry import consolidations, events, learners, tasks, versions, workers
from registry.queue import NO_FREE_WORKER_S
from registry.tables import CONSOLIDATE
from tests.factories import make_learner, make_task
from tests.waiting import wait_until, within
from tests.worker.waiting import has_ended, is_training, learn_process, wait_for

ROOT = Path(__file__).parents[2]
A_FEW_SECONDS = {"epochs": 4000}
ENDLESS = {"epochs": 10_000_000}
KNOWS_THE_STRATEGY = """
import sys
if "worker.learn" in sys.orig_argv:
    from models.strategies import catalog
    from tests.worker.consolidating import Consolidating
    catalog.CATALOG = (*catalog.CATALOG, Consolidating)
"""
IN_ITS_TURN = """
    # One that steps back waits for all that runs on the machine of the tests.
    from worker import priority
    priority.step_back = lambda: None
"""

pytestmark = [pytest.mark.slow, pytest.mark.chaos]


@pytest.fixture
def start_worker(run_worker, tmp_path, monkeypatch):
    """A function that starts a worker of some name whose learn processes know the strategy."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(KNOWS_THE_STRATEGY + IN_ITS_TURN)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}:{ROOT}")

    def start(name="test", **changes):
        usual = {"poll_s": 0.05, "checkpoint_s": 0.1, "consolidate": "at_once"}
        # Far longer than stopping takes on any machine.
        return run_worker(worker_id=name, stop_grace_s=200, **usual | changes)

    return start


@pytest.fixture
def add(session_factory, blobs):
    """A function that adds a task, and makes its learner the first time; returns the task's id."""

    def run(*classes, name="birds", config=A_FEW_SECONDS):
        with session_factory.begin() as session:
            if not [one for one in learners.list_learners(session).items if one.name == name]:
                make_learner(session, name, strategy="consolidating")
            task = make_task(
                session, blobs, name, classes=classes, config=config, n_train=4, n_eval=1, seed=5
            )
            return task.id

    return run


@pytest.fixture
def consolidation(session_factory):
    """A function that waits for a learner's newest consolidation to be there, and returns its id."""

    def find(name="birds"):
        with session_factory() as session:
            listed = tasks.list_tasks(session, learner_name=name, mode=CONSOLIDATE).items
        return listed[0].id if listed else None

    return lambda name="birds": wait_until(lambda: find(name))


@pytest.fixture
def now(session_factory):
    def run(task_id):
        with session_factory() as session:
            return tasks.get_task(session, task_id)

    return run


def has_checkpoint(task):
    return is_training(task) and task.checkpoint is not None


def types_of(session_factory, task_id):
    with session_factory() as session:
        return [event.type for event in events.list_events(session, task_id, limit=10_000)]


def test_a_task_goes_first_and_training_goes_on_where_it_was(
    session_factory, start_worker, add, consolidation, now
):
    add("heron", "egret")
    start_worker()
    training = consolidation()
    wait_for(session_factory, training, has_checkpoint)

    task_id = add("ibis", config={"epochs": 1})

    learned = wait_for(session_factory, task_id, has_ended)
    assert (learned.status, learned.version) == ("succeeded", 2)
    put_down = now(training)
    # It was put down, which is no attempt, and kept what it had for the head that is there now.
    assert put_down.attempt <= 1
    assert put_down.checkpoint is not None
    done = wait_for(session_factory, training, has_ended)
    assert (done.status, done.version, done.attempt) == ("succeeded", 3, 1)
    assert done.options["tasks"] == done.result["tasks"] == [1]
    with session_factory() as session:
        version = versions.get_version(session, done.learner_id, 3)
    assert (version.parent, version.stage, version.unconsolidated) == (2, "consolidated", [2])
    assert version.classes == ["heron", "egret", "ibis"]
    told = types_of(session_factory, training)
    assert told.count("started") == 2
    assert told.count("end") == 1
    # What was learned meanwhile has a consolidation of its own.
    assert consolidation() != training
    wait_for(session_factory, consolidation(), has_ended)


def test_killed_it_ends_with_the_same_artifact(
    session_factory, start_worker, add, consolidation, now
):
    worker = start_worker()
    found = {}
    for name in ("twin", "birds"):
        add("heron", "egret", name=name)
        training = consolidation(name)
        if name == "birds":
            wait_for(session_factory, training, has_checkpoint)
            os.kill(learn_process(worker), signal.SIGKILL)
            killed = wait_for(session_factory, training, lambda task: task.status == "queued")
            assert (killed.attempt, killed.error["code"]) == (1, "worker-lost")
            assert killed.checkpoint is not None
        done = wait_for(session_factory, training, has_ended)
        assert done.status == "succeeded"
        with session_factory() as session:
            version = versions.get_version(session, done.learner_id, 2)
        found[name] = version.manifest_sha256
        wait_until(lambda task_id=training: now(task_id).checkpoint is None)
    assert found["twin"] == found["birds"]


def test_cancelled_it_ends_at_once(session_factory, start_worker, add, consolidation, now):
    add("heron", "egret", config=ENDLESS)
    start_worker()
    training = consolidation()
    wait_for(session_factory, training, is_training)
    with session_factory.begin() as session:
        tasks.request_cancel(session, training)
    with within(5):
        task = wait_for(session_factory, training, has_ended)
    assert (task.status, task.version) == ("cancelled", None)
    with session_factory() as session:
        assert consolidations.pending(session, task.learner_id) is None


def test_a_stopped_worker_gives_it_back(session_factory, start_worker, add, consolidation, now):
    add("heron", "egret", config=ENDLESS)
    worker = start_worker()
    training = consolidation()
    wait_for(session_factory, training, has_checkpoint)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait() == 0
    task = now(training)
    assert (task.status, task.attempt, task.error) == ("queued", 0, None)


def test_another_learners_task_has_the_only_worker(
    session_factory, start_worker, add, consolidation, now
):
    add("heron", "egret", config=ENDLESS)
    start_worker()
    training = consolidation()
    wait_for(session_factory, training, has_checkpoint)
    task_id = add("cod", name="fish", config={"epochs": 1})
    assert wait_for(session_factory, task_id, has_ended).status == "succeeded"
    # Taken up again, with nobody's attempts counted.
    task = wait_for(session_factory, training, is_training)
    assert task.attempt == 1


def test_it_goes_on_beside_a_worker_that_is_free(
    session_factory, start_worker, add, consolidation, now
):
    add("heron", "egret", config=ENDLESS)
    start_worker("first")
    training = consolidation()
    wait_for(session_factory, training, is_training)
    start_worker("second")
    wait_until(lambda: is_idle(session_factory, "second"))
    task_id = add("cod", name="fish", config={"epochs": 1})
    learned = wait_for(session_factory, task_id, has_ended)
    assert learned.worker_id == "second"
    # Not once, unless the free one took so long to begin that it could not be told from none.
    waited_s = (learned.started_at - learned.created_at).total_seconds()
    assert types_of(session_factory, training).count("started") == 1 or waited_s > NO_FREE_WORKER_S
    # A task of its own learner puts it down all the same, and nothing of a learner is ever done twice at once.
    own = add("ibis", config={"epochs": 1})
    assert wait_for(session_factory, own, has_ended).status == "succeeded"
    assert overlaps(session_factory, now(own).learner_id) == []


def is_idle(session_factory, name):
    with session_factory() as session:
        return any(
            one.row.id == name and one.state == "idle" for one in workers.list_workers(session)
        )


def overlaps(session_factory, learner_id):
    """Return the tasks of a learner that were begun while another of them was with a worker."""
    with session_factory() as session:
        of_learner = [
            task.id
            for mode in (None, CONSOLIDATE)
            for task in tasks.list_tasks(session, mode=mode).items
            if task.learner_id == learner_id
        ]
        told = [
            (event.seq, event.type, task_id)
            for task_id in of_learner
            for event in events.list_events(session, task_id, limit=10_000)
        ]
    found, busy = [], None
    for _, type_, task_id in sorted(told):
        if type_ == "started":
            found += [task_id] if busy not in (None, task_id) else []
            busy = task_id
        elif type_ in ("queued", "end") and busy == task_id:
            busy = None
    return found


def test_its_process_steps_back(session_factory, start_worker, add, consolidation, tmp_path):
    add("heron", "egret", config=ENDLESS)
    worker = start_worker()
    (tmp_path / "site" / "sitecustomize.py").write_text(KNOWS_THE_STRATEGY)
    wait_for(session_factory, consolidation(), lambda task: task.status == "running")
    pid = learn_process(worker)
    wait_until(lambda: has_stepped_back(pid))
    autogroup = Path(f"/proc/{pid}/autogroup")
    if autogroup.exists():
        assert autogroup.read_text().split()[-1] == "19"
    assert os.sched_getscheduler(worker.pid) != os.SCHED_IDLE


def has_stepped_back(pid):
    with suppress(ProcessLookupError):  # a thread has ended just now
        threads = [int(thread.name) for thread in Path(f"/proc/{pid}/task").iterdir()]
        return all(os.sched_getscheduler(thread) == os.SCHED_IDLE for thread in threads)
