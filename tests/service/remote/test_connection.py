"""How the clients behave, both in the same way, whatever the service answers."""

import json
import socket
import time
from pathlib import Path

import pytest

from service.client import (
    Filopodia,
    ProblemError,
    Retries,
    UnexpectedReplyError,
    UnreachableError,
)


def test_the_key_goes_along_and_posts_can_be_repeated(client, script):
    script.add({"name": "birds"}, status=201)
    client.create_learner("birds", strategy="artsy")
    method, path, headers, body = script.requests[0]
    assert (method, path) == ("POST", "/v1/learners")
    assert headers["Authorization"] == "Bearer fil_a_b"
    assert len(headers["Idempotency-Key"]) == 32
    assert json.loads(body) == {"name": "birds", "strategy": "artsy"}


def test_every_creation_has_a_key_of_its_own_unless_one_is_given(client, script):
    for _ in range(3):
        script.add({"id": "x"}, status=201)
    client.create_key("a", "reader")
    client.create_key("a", "reader")
    client.create_key("a", "reader", idempotency_key="mine")
    first, second, third = (request[2]["Idempotency-Key"] for request in script.requests)
    assert first != second
    assert third == "mine"


def test_a_problem_carries_what_the_service_says(client, script):
    problem = {
        "code": "label-known",
        "detail": "heron is known.",
        "errors": [{"pointer": "/0", "detail": "x"}],
        "request_id": "req_1",
        "retryable": False,
    }
    script.add(problem, status=409)
    with pytest.raises(ProblemError) as caught:
        client.learner("birds")
    error = caught.value
    assert (error.status, error.code, error.detail) == (409, "label-known", "heron is known.")
    assert (str(error), error.request_id, error.retryable) == ("heron is known.", "req_1", False)
    assert error.errors == [{"pointer": "/0", "detail": "x"}]


@pytest.mark.parametrize("body", ["text", None, [1]])
def test_an_answer_that_is_no_problem_object_is_still_one(client, script, body):
    script.add(body, status=418, X_Request_Id="req_2")
    with pytest.raises(ProblemError) as caught:
        client.learners()
    assert (caught.value.code, caught.value.request_id) == ("http-418", "req_2")


def test_a_page_of_something_else_is_named(client, script, address):
    script.stream(b"<html>")
    with pytest.raises(UnexpectedReplyError, match=f"{address}/v1/info"):
        client.info()


@pytest.mark.parametrize(
    "problem",
    [
        {"code": "overloaded", "retryable": True},
        {},  # a proxy's answer
    ],
)
def test_an_overloaded_service_is_asked_again_with_the_same_key(client, script, problem):
    script.add(problem, status=503, Retry_After="0")
    script.add(problem, status=503, Retry_After="soon")
    script.add({"name": "birds"}, status=201)
    assert client.create_learner("birds")["name"] == "birds"
    keys = {headers["Idempotency-Key"] for _, _, headers, _ in script.requests}
    assert (len(script.requests), len(keys)) == (3, 1)


def test_retry_after_is_waited_out(client, script):
    script.add({}, status=429, Retry_After="1")
    script.add({"name": "birds"})
    started = time.monotonic()
    client.learner("birds")
    assert time.monotonic() - started >= 1


def test_a_wait_that_is_too_long_is_left_to_the_caller(client, script):
    script.add({"code": "overloaded", "retryable": True}, status=503, Retry_After="3600")
    with pytest.raises(ProblemError) as caught:
        client.learner("birds")
    assert caught.value.retryable
    assert caught.value.retry_after_s == 3600


def test_retries_come_to_an_end(connect, address, script):
    for _ in range(3):
        script.add({}, status=503)
    with pytest.raises(ProblemError):
        connect(address, retries=Retries(most=2, first_pause_s=0.001)).learners()
    assert len(script.requests) == 3


def test_a_service_that_cannot_be_helped_by_waiting_is_not_asked_again(client, script):
    script.add({"code": "version-damaged", "retryable": False}, status=503)
    with pytest.raises(ProblemError):
        client.learner("birds")
    assert len(script.requests) == 1


def test_a_post_that_still_runs_is_waited_for(client, script):
    script.add({"code": "idempotency-in-progress", "retryable": True}, status=409, Retry_After="0")
    script.add({"name": "birds"}, status=201)
    assert client.create_learner("birds")["name"] == "birds"


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("cancel_task", ["tsk_1"]), ("retry_task", ["tsk_1"]), ("publish_task", ["tsk_1"])],
)
def test_what_could_happen_twice_is_not_sent_twice(client, script, method, arguments):
    script.hang_up()
    with pytest.raises(UnreachableError):
        getattr(client, method)(*arguments)
    script.add({}, status=503)
    with pytest.raises(ProblemError):
        getattr(client, method)(*arguments)
    assert len(script.requests) == 2


def test_a_conditional_change_is_not_sent_twice(client, script):
    script.hang_up()
    with pytest.raises(UnreachableError):
        client.move_live("birds", 2, expected=3)
    assert script.requests[0][2]["If-Match"] == '"3"'
    script.hang_up()
    script.add({"name": "live", "version": 2})
    assert client.move_live("birds", 2)["version"] == 2
    assert len(script.requests) == 3


def test_a_service_that_starts_says_so(client, script):
    script.add({"status": "starting"}, status=503)
    assert client.readiness()["status"] == "starting"


def test_a_service_that_is_not_there_is_named(connect):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    client = connect(url, retries=Retries(most=1, first_pause_s=0.001))
    with pytest.raises(UnreachableError, match=url):
        client.cancel_task("tsk_1")


def test_a_mistake_in_the_address_is_not_tried_again(connect, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waits"))
    client = connect("ftp://127.0.0.1")
    with pytest.raises(UnreachableError):
        client.learners()


def test_an_address_without_a_scheme_says_so(connect):
    with pytest.raises(ValueError, match="lacks a scheme"):
        connect("127.0.0.1:8123")


@pytest.mark.parametrize("image", ["new.png", Path("new.png"), b"png", ("new.png", "png")])
def test_what_is_no_image_to_predict_is_refused_in_words(client, script, image):
    with pytest.raises(TypeError, match="pair of file name and bytes"):
        client.predict("birds", [image])
    with pytest.raises(ValueError, match="no image"):
        client.predict("birds", [])
    assert script.requests == []


def test_methods_say_what_they_do():
    assert "Create a learner" in Filopodia.create_learner.__doc__
    with Filopodia("http://127.0.0.1:9", "k") as client:
        assert "Create a learner" in client.create_learner.__doc__
