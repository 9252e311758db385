"""Tasks are counted once as they end, by how they ended, with the time of their phases."""

import pytest

from registry import queue, tasks
from service.inference.task_metrics import TaskMetrics
from service.metrics import Metrics
from tests.factories import learn_at_once, make_learner, make_task, publish_task


@pytest.fixture
def counted(session_factory):
    """Metrics that have looked once, at a database in which a task had ended before."""
    metrics = Metrics()
    looking = TaskMetrics(metrics)

    def look():
        with session_factory() as session:
            looking.look(session)
        return metrics.registry.get_sample_value

    return look


def test_counts_each_end_once(session_factory, blobs, counted):
    with session_factory.begin() as session:
        make_learner(session)
        publish_task(session, make_task(session, blobs))
    value = counted()
    assert value("filopodia_tasks_ended_total", {"status": "succeeded"}) is None

    with session_factory.begin() as session:
        seconds = {"training": 20.0, "evaluating": 0.3}
        publish_task(
            session, make_task(session, blobs, classes=("crane",)), metrics={"seconds": seconds}
        )
        waiting = make_task(session, blobs, classes=("stork",))
        tasks.request_cancel(session, waiting.id)
        failing = make_task(session, blobs, classes=("ibis",))
        token = queue.claim(session, failing.id, "w", 30).token
        queue.fail_task(session, failing.id, token, "diverged", "It diverged.")
    for _ in range(2):
        value = counted()
        for status in ("succeeded", "cancelled", "failed"):
            assert value("filopodia_tasks_ended_total", {"status": status}) == 1
        assert value("filopodia_task_phase_seconds_sum", {"phase": "training"}) == 20.0
        assert value("filopodia_task_phase_seconds_count", {"phase": "evaluating"}) == 1
        assert value("filopodia_task_wait_seconds_count") == 2  # the cancelled one never started


def test_a_task_that_is_retried_ends_again(session_factory, blobs, counted):
    counted()
    with session_factory.begin() as session:
        make_learner(session)
        task_id = make_task(session, blobs).id
    for n in (1, 2):
        with session_factory.begin() as session:
            token = queue.claim(session, task_id, "w", 30).token
            queue.fail_task(session, task_id, token, "diverged", "It diverged.")
        assert counted()("filopodia_tasks_ended_total", {"status": "failed"}) == n
        with session_factory.begin() as session:
            tasks.retry_task(session, task_id)


def test_a_consolidation_counts_by_how_it_ended_and_not_by_how_long_it_waited(
    session_factory, blobs, counted
):
    counted()
    with session_factory.begin() as session:
        make_learner(session)
        learn_at_once(session, blobs, ("heron",))
        claimed = queue.claim_next(session, "w", 30)
        queue.decline(session, claimed.id, claimed.token, {"reason": "No better."})
    value = counted()
    assert value("filopodia_tasks_ended_total", {"status": "declined"}) == 1
    assert value("filopodia_tasks_ended_total", {"status": "succeeded"}) == 1
    assert value("filopodia_task_wait_seconds_count") == 1
