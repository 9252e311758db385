"""The client's own behaviour, against a small HTTP server that answers from a script."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from service.client import client as client_module
from service.client import transport
from service.client.client import FilopodiaClient, TaskOptions
from service.client.folders import LabelledImage
from service.client.transport import ProblemError, UnreachableError


class Script:
    """Answers requests one after the other: `(status, headers, body)`, or hangs up; remembers what came."""

    def __init__(self):
        self.answers = []
        self.requests = []

    def add(self, body, status=200, **headers):
        self.answers.append((status, headers, json.dumps(body).encode()))

    def hang_up(self):
        self.answers.append(None)


@pytest.fixture
def script():
    return Script()


@pytest.fixture
def client(script, monkeypatch):
    monkeypatch.setattr(transport, "MAX_WAIT_S", 0.01)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            script.requests.append((self.command, self.path, dict(self.headers), body))
            answer = script.answers.pop(0)
            if answer is None:
                self.close_connection = True
                return
            status, headers, content = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with FilopodiaClient(f"http://127.0.0.1:{server.server_port}/", "fil_a_b") as client:
            yield client
        server.shutdown()
        thread.join()


def test_the_key_goes_along_and_posts_can_be_repeated(client, script):
    script.add({"name": "birds"}, status=201)
    client.create_learner("birds", strategy="artsy")
    method, path, headers, body = script.requests[0]
    assert (method, path) == ("POST", "/v1/learners")
    assert headers["Authorization"] == "Bearer fil_a_b"
    assert len(headers["Idempotency-Key"]) == 32
    assert json.loads(body) == {"name": "birds", "strategy": "artsy"}


def test_a_problem_carries_status_code_and_detail(client, script):
    problem = {
        "code": "label-known",
        "detail": "heron is known.",
        "errors": [{"pointer": "/0", "detail": "x"}],
        "request_id": "req_1",
    }
    script.add(problem, status=409)
    with pytest.raises(ProblemError) as caught:
        client.learner("birds")
    assert (caught.value.status, caught.value.code) == (409, "label-known")
    assert str(caught.value) == "heron is known."
    assert caught.value.errors == [{"pointer": "/0", "detail": "x"}]


@pytest.mark.parametrize("body", ["text", None, [1]])
def test_an_answer_that_is_no_problem_object_is_still_one(client, script, body):
    script.add(body, status=418)
    with pytest.raises(ProblemError) as caught:
        client.learners()
    assert caught.value.code == "http-418"


def test_an_overloaded_service_is_asked_again_with_the_same_key(client, script):
    script.add({}, status=503, Retry_After="30")
    script.add({}, status=503, Retry_After="soon")
    script.add({"name": "birds"}, status=201)
    assert client.create_learner("birds")["name"] == "birds"
    keys = {headers["Idempotency-Key"] for _, _, headers, _ in script.requests}
    assert (len(script.requests), len(keys)) == (3, 1)


def test_a_post_that_still_runs_is_waited_for(client, script):
    script.add({"code": "idempotency-in-progress"}, status=409, Retry_After="1")
    script.add({"name": "birds"}, status=201)
    assert client.create_learner("birds")["name"] == "birds"


def test_a_folder_is_sent_whole_again_after_an_overload(client, script, tmp_path):
    (tmp_path / "heron").mkdir()
    (tmp_path / "heron/a.jpg").write_bytes(b"pixels")
    script.add({}, status=503)
    script.add({"id": "tsk_1"}, status=202)
    options = TaskOptions(eval_fraction=0.25, config={"epochs": 2})
    client.learn_folder("birds", tmp_path, options)
    (_, path, headers, first), (_, _, _, second) = script.requests
    assert "eval_fraction=0.25" in path
    assert "config=%7B%22epochs%22%3A+2%7D" in path
    assert headers["Content-Type"] == "application/x-tar"
    assert int(headers["Content-Length"]) == len(first)
    assert first == second


def test_images_go_as_multipart_with_a_manifest(client, script):
    script.add({"id": "tsk_1"}, status=202)
    images = [LabelledImage(b"one", "heron"), LabelledImage(b"two", "egret", "eval")]
    client.learn_images("birds", images, TaskOptions(name="first"))
    _, _, headers, body = script.requests[0]
    assert headers["Content-Type"].startswith("multipart/form-data")
    assert body.count(b'name="images"') == 2
    assert b'"000001": {"label": "egret", "split": "eval"}' in body
    assert b'{"name": "first"}' in body


def test_all_pages_are_read(client, script):
    script.add({"items": [{"name": "a"}], "next_cursor": "c1"})
    script.add({"items": [{"name": "b"}], "next_cursor": None})
    assert [learner["name"] for learner in client.learners()] == ["a", "b"]
    assert "cursor=c1" in script.requests[1][1]


def test_no_more_tasks_are_read_than_asked_for(client, script):
    script.add({"items": [{"id": "1"}, {"id": "2"}], "next_cursor": "more"})
    assert len(client.tasks("birds", limit=2)) == 2
    assert script.requests[0][1] == "/v1/learners/birds/tasks?limit=2"


def test_following_a_task_reports_it_until_it_ends(client, script):
    for status in ("queued", "running", "succeeded"):
        script.add({"id": "tsk_1", "status": status})
    seen = []
    task = client.follow_task("tsk_1", lambda task: seen.append(task["status"]), poll_s=0)
    assert seen == ["queued", "running", "succeeded"]
    assert task["status"] == "succeeded"


def test_following_a_task_outlives_a_restart_of_the_service(client, script, monkeypatch):
    monkeypatch.setattr(transport, "RETRIES", 0)
    script.add({"id": "tsk_1", "status": "running"})
    script.hang_up()
    script.hang_up()
    script.add({"id": "tsk_1", "status": "succeeded"})
    assert client.follow_task("tsk_1", lambda task: None, poll_s=0)["status"] == "succeeded"


def test_following_a_task_ends_when_the_service_stays_away(client, script, monkeypatch):
    monkeypatch.setattr(transport, "RETRIES", 0)
    monkeypatch.setattr(client_module, "PATIENCE_S", 0)
    script.hang_up()
    script.hang_up()
    with pytest.raises(UnreachableError):
        client.follow_task("tsk_1")


def test_waiting_for_a_task_without_watching_it_is_a_long_poll(client, script):
    script.add({"id": "tsk_1", "status": "failed"})
    client.follow_task("tsk_1")
    assert script.requests[0][1] == "/v1/tasks/tsk_1?wait=30"


def test_a_service_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(transport, "RETRIES", 0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with FilopodiaClient(url, "k") as client, pytest.raises(UnreachableError, match=url):
        client.learners()
