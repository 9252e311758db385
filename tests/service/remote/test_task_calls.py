"""How what is to be learned is sent."""

import json

import pytest

from service.client import (
    LabelledImage,
    TaskOptions,
)
from tests.service.remote.scripted import TASK


def test_a_folder_is_sent_whole_again_after_an_overload(client, script, tmp_path):
    (tmp_path / "heron").mkdir()
    (tmp_path / "heron/a.jpg").write_bytes(b"pixels" * 500_000)
    script.add({}, status=503)
    script.add(TASK, status=202)
    options = TaskOptions(eval_fraction=0.25, config={"epochs": 2})
    client.learn_folder("birds", tmp_path, options)
    (_, path, headers, first), (_, _, _, second) = script.requests
    assert "eval_fraction=0.25" in path
    assert "config=%7B%22epochs%22%3A+2%7D" in path
    assert headers["Content-Type"] == "application/x-tar"
    assert "Transfer-Encoding" not in headers
    assert int(headers["Content-Length"]) == len(first) > 3_000_000
    assert first == second


def test_an_archive_is_sent_as_it_is(client, script, tmp_path):
    (tmp_path / "photos.tgz").write_bytes(b"packed")
    script.add(TASK, status=202)
    client.learn_archive("birds", tmp_path / "photos.tgz")
    assert script.requests[0][2]["Content-Type"] == "application/gzip"
    assert script.requests[0][3] == b"packed"
    with pytest.raises(ValueError, match=r"photos\.rar"):
        client.learn_archive("birds", tmp_path / "photos.rar")


def test_images_go_as_multipart_with_a_manifest(client, script):
    script.add(TASK, status=202)
    images = [LabelledImage(b"one", "heron"), LabelledImage(b"two", "egret", "eval")]
    client.learn_images("birds", images, TaskOptions(name="first"))
    _, _, headers, body = script.requests[0]
    assert headers["Content-Type"].startswith("multipart/form-data")
    assert body.count(b'name="images"') == 2
    assert b'"000001": {"label": "egret", "split": "eval"}' in body
    assert b'{"name": "first"}' in body


def test_no_more_tasks_are_read_than_asked_for(client, script):
    script.add({"items": [TASK, TASK], "next_cursor": "more"})
    assert len(client.tasks("birds", limit=2)) == 2
    assert script.requests[0][1] == "/v1/learners/birds/tasks?limit=2"


def test_a_consolidation_is_asked_for_and_listed(client, script):
    script.add(TASK, status=202)
    script.add({"items": [TASK], "next_cursor": None})
    script.add({"items": [TASK], "next_cursor": None})
    assert client.consolidate("birds", title="at night").id == TASK["id"]
    assert len(client.consolidations("birds", status=["declined"])) == 1
    assert len(client.tasks("birds", mode="consolidate")) == 1
    (verb, path, headers, body), listed, tasks = script.requests
    assert (verb, path) == ("POST", "/v1/learners/birds/consolidations")
    assert headers["Idempotency-Key"]
    assert json.loads(body) == {"name": "at night"}
    assert listed[1].startswith("/v1/learners/birds/consolidations?status=declined&")
    assert tasks[1].startswith("/v1/learners/birds/tasks?mode=consolidate&")


def test_a_folder_may_be_named_by_a_string(client, script, tmp_path):
    (tmp_path / "heron").mkdir()
    (tmp_path / "heron" / "a.png").write_bytes(b"png")
    script.add(TASK, status=202)
    assert client.learn_folder("birds", str(tmp_path)).id == "tsk_1"


def test_unlearn_says_what_is_to_go(client, script):
    script.add({"id": "tsk_1", "status": "queued"}, status=202)
    task = client.unlearn("birds", tasks=[2], classes=["heron"], max_forgetting=0.1)
    method, path, headers, body = script.requests[-1]
    assert (method, path) == ("POST", "/v1/learners/birds/unlearn")
    assert json.loads(body) == {"tasks": [2], "classes": ["heron"], "max_forgetting": 0.1}
    assert len(headers["Idempotency-Key"]) >= 16
    assert task.id == "tsk_1"


def test_unlearn_is_sent_again_under_the_same_key(client, script):
    script.hang_up()
    script.add({"id": "tsk_1", "status": "queued"}, status=202)
    client.unlearn("birds", classes=["heron"])
    first, second = (request[2]["Idempotency-Key"] for request in script.requests)
    assert first == second


def test_a_correction_says_what_images_show(client, script):
    script.add({"id": "tsk_1", "status": "queued"}, status=202)
    client.correct("birds", {"smp_1": "heron", "smp_2": None}, title="mended")
    method, path, headers, body = script.requests[-1]
    assert (method, path) == ("POST", "/v1/learners/birds/corrections")
    assert json.loads(body) == {
        "changes": [{"sample": "smp_1", "to": "heron"}, {"sample": "smp_2", "to": None}],
        "name": "mended",
    }
    assert len(headers["Idempotency-Key"]) >= 16


def test_a_correction_is_taken_back_by_its_id(client, script):
    script.add({"id": "tsk_2", "status": "queued"}, status=202)
    assert client.undo_correction("birds", "tsk_1").id == "tsk_2"
    assert json.loads(script.requests[-1][3]) == {"undo": "tsk_1"}


def test_images_are_listed_by_class(client, script):
    script.add({"items": [{"id": "smp_1"}], "next_cursor": None})
    assert client.class_samples("birds", "a/b", removed=True) == [{"id": "smp_1"}]
    assert script.requests[-1][1].startswith("/v1/learners/birds/samples?label=a%2Fb&removed=")
