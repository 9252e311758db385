"""What a queued consolidation waits for, said of each thing that it can wait for."""

from datetime import UTC, datetime

import pytest

from registry import consolidations, queue, tasks, versions
from registry.obstacles import find_obstacle
from registry.schedule import Schedule
from tests.factories import learn_at_once, make_learner, make_new_version, make_task

IDLE = Schedule.parse("idle", 600)


@pytest.fixture
def waiting(session, blobs):
    """A function that publishes a task by a schedule, and returns the consolidation that is queued after it."""

    def publish(schedule):
        learner = make_learner(session)
        learn_at_once(session, blobs, ["heron", "egret"], schedule=schedule)
        return consolidations.pending(session, learner.id)

    return publish


def test_quiet(session, waiting):
    found = find_obstacle(session, waiting(IDLE))
    assert found.what == "quiet"
    assert 590 < found.seconds <= 600


def test_a_free_worker(session, waiting):
    task = waiting(Schedule.parse("at_once"))
    assert find_obstacle(session, task).what == "worker"
    claimed = queue.claim(session, task.id, "w", 30)
    assert find_obstacle(session, task) is None
    queue.requeue_task(session, task.id, claimed.token, "worker-lost", "It is gone.", 60)
    found = find_obstacle(session, task)
    assert (found.what, 50 < found.seconds <= 60) == ("retry", True)
    tasks.request_cancel(session, task.id)
    assert find_obstacle(session, task) is None


def test_its_hours(session, waiting):
    now = datetime.now(UTC)
    start, end = (now.hour + 2) % 24, (now.hour + 3) % 24
    task = waiting(Schedule.parse(f"{start:02}:00-{end:02}:00", 0))
    assert find_obstacle(session, task).what == "hours"


def test_tasks_of_its_learner_and_decisions_about_them(session, blobs, waiting):
    task = waiting(Schedule.parse("at_once"))
    first = make_task(session, blobs, classes=["wren"])
    assert find_obstacle(session, task).what == "task"
    claimed = queue.claim(session, first.id, "w", 30)
    assert find_obstacle(session, task).what == "task"
    versions.hold(session, first.id, claimed.token, make_new_version(session, first), "It forgets.")
    assert find_obstacle(session, task).what == "decision"
    tasks.request_cancel(session, first.id)
    assert find_obstacle(session, task).what == "worker"
