"""What the tests of attempts share; each says itself with what `settings`."""

import pytest

from registry import queue, tasks
from worker.attempts import EXIT_SETTLED, run_attempt


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
