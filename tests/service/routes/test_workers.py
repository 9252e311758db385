import pytest

from registry import queue, workers
from tests.factories import make_learner, make_task
from tests.waiting import wait_until


@pytest.fixture
def learning(session, blobs):
    """A worker in the middle of a task; returns the task's id."""
    workers.announce(
        session,
        "gpu-1",
        kind="celery",
        host="box",
        pid=7,
        device="NVIDIA H200",
        slots=1,
        version="0.1.0",
    )
    make_learner(session)
    task = make_task(session, blobs)
    session.commit()
    queue.claim(session, task.id, "gpu-1", 30)
    session.commit()
    return task.id


def test_shows_who_is_alive_on_what_device_doing_what(client, learning):
    (worker,) = client.get("/v1/workers").json()["items"]
    assert (worker["id"], worker["kind"], worker["state"]) == ("gpu-1", "celery", "learning")
    assert (worker["device"], worker["host"], worker["pid"]) == ("NVIDIA H200", "box", 7)
    (task,) = worker["learning"]
    assert (task["id"], task["learner"], task["index"]) == (learning, "birds", 1)
    assert (task["phase"], task["attempt"]) == ("preparing", 1)
    assert worker["stopped_at"] is None


def test_metrics_tell_of_workers_until_they_say_goodbye(client, learning, session):
    wait_until(
        lambda: 'filopodia_worker_seen_seconds{worker="gpu-1"}' in client.get("/metrics").text
    )
    workers.leave(session, "gpu-1")
    session.commit()
    wait_until(lambda: "gpu-1" not in client.get("/metrics").text)


def test_readiness_tells_whether_somebody_learns(client, learning, session):
    wait_until(lambda: client.get("/readyz").json()["worker"] == "up")
    assert "filopodia_worker_up 1.0" in client.get("/metrics").text
    workers.leave(session, "gpu-1")
    session.commit()
    wait_until(lambda: client.get("/readyz").json()["worker"] == "down")
    ready = client.get("/readyz")
    # Predictions go on.
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert (ready.json()["worker_restarts"], ready.json()["worker_refusal"]) == (0, None)


def test_without_redis_there_is_no_doorbell(client):
    assert client.get("/readyz").json()["doorbell"] == "none"
