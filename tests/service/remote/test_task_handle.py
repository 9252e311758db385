"""Tasks are watched and waited for."""

import pytest

from service.client import (
    LabelledImage,
    ProblemError,
    Retries,
    UnreachableError,
    WaitTimeoutError,
)
from tests.service.remote.scripted import TASK
from tests.waiting import within


def test_following_a_task_reports_it_until_it_ends(client, script):
    for status in ("queued", "running", "succeeded"):
        script.add(TASK | {"status": status})
    seen = []
    task = client.follow_task("tsk_1", lambda task: seen.append(task["status"]), poll_s=0)
    assert seen == ["queued", "running", "succeeded"]
    assert task["status"] == task.status == "succeeded"


def test_whoever_is_told_of_a_task_is_told_of_its_end_at_once(client, script):
    for status in ("queued", "running", "succeeded"):
        script.add(TASK | {"status": status})
    with within(2):
        client.follow_task("tsk_1", lambda task: None, poll_s=0.05)
    asked = [request[1] for request in script.requests]
    assert asked == ["/v1/tasks/tsk_1", *["/v1/tasks/tsk_1?wait=0.05"] * 2]


def test_a_task_can_be_waited_for_without_watching_it(client, script):
    script.add(TASK, status=202)
    script.add(TASK | {"status": "running"})
    script.add(TASK | {"status": "failed", "error": {"code": "diverged", "detail": "x"}})
    task = client.learn_images("birds", [LabelledImage(b"one", "heron")])
    assert not task.has_ended
    task.wait()
    assert task.has_ended
    assert (task.status, task.error["code"]) == ("failed", "diverged")
    assert [request[1] for request in script.requests[1:]] == ["/v1/tasks/tsk_1?wait=30"] * 2


def test_a_wait_can_be_given_up(client, script):
    for _ in range(3):
        script.add(TASK)
    with pytest.raises(TimeoutError, match=r"tsk_1 has not ended in 0\.1 s"):
        client.follow_task("tsk_1", timeout_s=0.1)
    with pytest.raises(WaitTimeoutError):
        client.follow_task("tsk_1", timeout_s=0)


def test_following_a_task_outlives_a_restart_of_the_service(connect, address, script):
    client = connect(address, retries=Retries(most=0, first_pause_s=0.001))
    script.add(TASK | {"status": "running"})
    script.hang_up()
    script.add({"code": "storage-unavailable", "retryable": True}, status=503, Retry_After="0")
    script.add(TASK | {"status": "succeeded"})
    assert client.follow_task("tsk_1", lambda task: None, poll_s=0).status == "succeeded"


def test_following_a_task_ends_when_the_service_stays_away(connect, address, script):
    client = connect(address, retries=Retries(most=0, patience_s=0))
    script.hang_up()
    with pytest.raises(UnreachableError):
        client.follow_task("tsk_1")


def test_following_a_task_that_is_not_there_ends_at_once(client, script):
    script.add({"code": "task-not-found"}, status=404)
    with pytest.raises(ProblemError, match="404"):
        client.follow_task("tsk_1")
