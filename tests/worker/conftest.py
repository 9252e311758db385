"""What the tests of attempts and of whole workers share; each says itself with what `settings`."""

import subprocess
import sys

import pytest

from registry import queue, tasks
from worker.attempts import EXIT_SETTLED, run_attempt
from worker.settings import WorkerSettings


@pytest.fixture
def attempt(session_factory, blobs, settings):
    """A function that claims a task and does it here, and returns its row."""

    def run(task_id):
        with session_factory.begin() as session:
            claimed = queue.claim(session, task_id, "w", 30)
        code = run_attempt(
            task_id,
            claimed.token,
            session_factory=session_factory,
            blobs=blobs,
            settings=settings,
        )
        assert code == EXIT_SETTLED
        with session_factory() as session:
            return tasks.get_task(session, task_id)

    return run


@pytest.fixture
def run_worker(database_url, tmp_path):
    """A function that starts a worker, `worker.local` or `worker`, with these settings; all are stopped at the end."""
    running = []

    def start(module="worker.local", **settings):
        given = WorkerSettings(
            data_dir=tmp_path,
            database_url=database_url,
            # Far longer than the test: what is taken over is taken over at once, not by a lease that runs out.
            lease_s=600,
            heartbeat_s=0.2,
            device="cpu",
            torch_threads=1,
            progress_s=0.1,
            **settings,
        )
        command = [sys.executable, "-m", module]
        running.append(subprocess.Popen(command, env=given.environment()))
        return running[-1]

    yield start
    for process in running:
        process.terminate()
        process.wait()
