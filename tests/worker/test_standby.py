"""Learn processes that wait, as a worker has them: real ones, killed and frozen while they wait and between tasks."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from benchmarks.chaos.system import command
from registry import queue, tasks, versions
from tests.factories import make_learner, make_task
from tests.processes import is_alive
from tests.waiting import wait_until
from worker import priority
from worker.settings import WorkerSettings
from worker.standby import LearnProcesses
from worker.supervisor import supervise
from worker.title import WAIT

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
    )


@pytest.fixture
def processes(settings):
    with LearnProcesses(settings) as processes:
        yield processes


@pytest.fixture
def add(session_factory, blobs):
    """A function that adds a task to a learner, which it creates if it is new, and returns its id."""
    known = set()

    def run(learner="birds", classes=("heron", "egret"), strategy="simplecil", config=None):
        with session_factory.begin() as session:
            if learner not in known:
                known.add(learner)
                make_learner(session, learner, strategy=strategy)
            options = {"screening": "hold"}
            return make_task(
                session, blobs, learner, classes=classes, config=config or {}, options=options
            ).id

    return run


@pytest.fixture
def learn(session_factory, settings, processes):
    """A function that claims a task and supervises it to its end, and returns its row, and the seconds this took."""

    def run(task_id, processes=processes):
        with session_factory.begin() as session:
            claimed = queue.claim(session, task_id, "w", 30)
        started = time.monotonic()
        supervise(
            claimed,
            session_factory=session_factory,
            settings=settings,
            stop=threading.Event(),
            processes=processes,
        )
        took_s = time.monotonic() - started
        with session_factory() as session:
            return tasks.get_task(session, task_id), took_s

    return run


@pytest.fixture
def manifest(session_factory):
    def run(task):
        assert task.status == "succeeded", (task.status, task.error)
        with session_factory() as session:
            return versions.get_version(session, task.learner_id, task.version).manifest_sha256

    return run


def waiting(processes):
    """Return the process that waits, once it is ready."""
    processes.keep_ready()
    process = processes._waiting
    wait_until(lambda: process.hear(0.1) is not None or process.is_ready)
    assert process.is_ready
    return process


def processor_s(pid):
    """Return the seconds of processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


def connections(session_factory):
    """Return how many connections learn processes hold."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'filopodia-learn'"
    with session_factory() as session:
        return session.scalar(text(query))


def test_it_waits_without_a_connection_or_the_processor_and_begins_at_once(
    session_factory, settings, processes, add, learn
):
    with LearnProcesses(settings, waits=False) as single:
        _, fresh_s = learn(add(), single)
    process = waiting(processes)
    assert command(process.pid)[1:4] == ["-m", "worker.learn", WAIT]
    assert connections(session_factory) == 0
    used_s = processor_s(process.pid)
    # Something that takes seconds.
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    assert processor_s(process.pid) - used_s <= 0.01
    assert resident_mb(process.pid) < 600

    task, took_s = learn(add(classes=("crane",)))
    assert (task.status, task.version, task.attempt) == ("succeeded", 2, 1)
    assert took_s < fresh_s / 2
    again, again_s = learn(add(classes=("stork",)))
    assert (again.status, again.version, again.attempt) == ("succeeded", 3, 1)
    assert again_s < fresh_s / 2
    # The very process waits again, and as before.
    assert processes._waiting is process
    assert is_alive(process.pid)
    assert command(process.pid)[3] == WAIT
    wait_until(lambda: connections(session_factory) == 0)


def test_it_stands_back_with_its_group_before_a_task_and_after(processes, add, learn):
    process = waiting(processes)
    before = standing(process.pid)
    task, _ = learn(add())
    assert task.status == "succeeded"
    assert processes._waiting is process
    assert before == standing(process.pid)
    niceness, group = before
    assert niceness == min(os.nice(0) + priority.NICENESS, 19)
    assert group in (None, priority.GROUP)


def standing(pid):
    """Return the niceness of a process, and of its session where the system groups processes by those."""
    group = Path(f"/proc/{pid}/autogroup")
    of_group = int(group.read_text().split()[-1]) if group.exists() else None
    return os.getpriority(os.PRIO_PROCESS, pid), of_group


@pytest.mark.parametrize("strike", ["kill", "freeze"])
def test_one_that_is_lost_while_it_waits_costs_no_attempt(
    processes, add, learn, monkeypatch, strike
):
    monkeypatch.setattr("worker.learn_process.TAKE_S", 0.5)
    lost = waiting(processes).pid
    if strike == "kill":
        os.kill(lost, signal.SIGKILL)
        wait_until(lambda: not is_alive(lost))
    else:
        os.kill(lost, signal.SIGSTOP)
    task, _ = learn(add())
    assert (task.status, task.attempt, task.error) == ("succeeded", 1, None)
    assert not is_alive(lost)
    # Between two tasks.
    between = processes._waiting.pid
    os.kill(between, signal.SIGKILL)
    task, _ = learn(add(classes=("crane",)))
    assert (task.status, task.attempt, task.error) == ("succeeded", 1, None)
    assert processes._waiting.pid not in (lost, between)


def test_one_that_dies_while_it_learns_costs_an_attempt_as_ever(
    processes, add, learn, session_factory, monkeypatch, tmp_path
):
    monkeypatch.setenv("FILOPODIA_FAILPOINTS", str(tmp_path))
    (tmp_path / "learn.loaded").write_text("kill")
    lost = waiting(processes).pid
    task, _ = learn(add())
    assert (task.status, task.attempt, task.error["code"]) == ("queued", 1, "worker-lost")
    assert "signal 9" in task.error["detail"]
    assert not is_alive(lost)
    with session_factory.begin() as session:
        tasks.get_task(session, task.id).not_before = None
    task, _ = learn(task.id)
    assert (task.status, task.attempt) == ("succeeded", 2)


def test_one_goes_on_waiting_while_an_attempt_is_made_apart(processes, add, session_factory):
    process = waiting(processes)
    with session_factory.begin() as session:
        claimed = queue.claim(session, add(), "w", 30)
    attempt = processes.start(claimed.id, claimed.token, apart=[])
    assert attempt.pid != process.pid
    wait_until(lambda: attempt.has_ended(0.2))
    processes.take_back(attempt)
    assert attempt.exit_code == 0
    assert not is_alive(attempt.pid)
    assert processes._waiting is process
    with session_factory() as session:
        assert tasks.get_task(session, claimed.id).status == "succeeded"


def test_what_failed_is_not_used_again(processes, add, learn, blobs):
    used = waiting(processes).pid
    task, _ = learn(add(config={"nonsense": 1}))
    assert (task.status, task.error["code"]) == ("failed", "internal")
    assert processes._waiting is None
    assert not is_alive(used)


def test_learners_that_share_a_process_learn_what_they_would_alone(
    settings, processes, add, learn, manifest
):
    rounds = [
        ("synaptic_intelligence", ("heron", "egret")),
        ("artsy", ("crane", "ibis")),
        ("synaptic_intelligence", ("stork", "gull")),
        ("artsy", ("tern",)),
    ]

    def learned(name, processes):
        config = {"epochs": 2, "bottleneck": 8}
        return [
            manifest(learn(add(f"{strategy}-{name}", classes, strategy, config), processes)[0])
            for strategy, classes in rounds
        ]

    used = waiting(processes)
    together = learned("together", processes)
    assert processes._waiting is used
    with LearnProcesses(settings, waits=False) as single:
        assert learned("alone", single) == together


def test_one_whose_memory_has_grown_ends_after_its_task(settings, add, learn):
    small = settings.model_copy(update={"learn_process_mb": 1})
    with LearnProcesses(small) as processes:
        first = waiting(processes).pid
        task, _ = learn(add(), processes)
        assert (task.status, task.attempt) == ("succeeded", 1)
        assert processes._waiting is None
        assert not is_alive(first)
        processes.keep_ready()
        assert processes._waiting.pid != first


def test_one_that_cannot_live_is_started_again_less_and_less_often(settings, monkeypatch):
    started = []
    monkeypatch.setattr("worker.learn_process.sys.executable", "/bin/false")
    with LearnProcesses(settings, clock=lambda: now) as processes:
        for now in (0, 0.5, 1.4, 1.6, 2, 3.9, 4.1, 5, 8.9, 9.1):
            processes.keep_ready()
            if processes._waiting is not None:
                started.append(now)
                wait_until(lambda: processes._waiting.has_ended)
    # Seen to have ended at 0.5, 2 and 5, and started again 1, 2 and 4 seconds later.
    assert started == [0, 1.6, 4.1, 9.1]


def test_none_waits_where_the_setting_says_so(settings, add, learn):
    off = settings.model_copy(update={"learn_standby": False})
    with LearnProcesses(off) as processes:
        processes.keep_ready()
        assert processes._waiting is None
        task, _ = learn(add(), processes)
        assert task.status == "succeeded"
        assert processes._waiting is None


def test_none_waits_after_the_end(settings, add, learn):
    processes = LearnProcesses(settings)
    pid = waiting(processes).pid
    processes.close()
    assert not is_alive(pid)
    processes.keep_ready()
    task, _ = learn(add(), processes)
    assert (task.status, processes._waiting) == ("succeeded", None)
