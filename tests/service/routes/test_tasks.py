import json
import threading

import pytest

from registry import held_out, queue
from tests.factories import make_image
from tests.service.api import image_files, version_of
from tests.waiting import wait_until


def post(client, birds, labels=("heron", "egret"), **options):
    return client.post(f"/v1/learners/{birds}/tasks", files=image_files(labels), **options)


def test_a_task_waits_in_line_and_reads_back(client, birds):
    first, second = post(client, birds), post(client, birds, ("owl", "wren"))
    assert first.headers["location"] == f"/v1/tasks/{first.json()['id']}"
    assert (first.json()["position"], second.json()["position"]) == (1, 2)
    assert (first.json()["index"], second.json()["index"]) == (1, 2)
    assert client.get(first.headers["location"]).json() == first.json()
    listed = client.get(f"/v1/learners/{birds}/tasks").json()
    assert [task["index"] for task in listed["items"]] == [2, 1]
    page = client.get("/v1/tasks?limit=1")
    assert page.json()["items"][0]["index"] == 2
    follow = page.headers["link"].split(">")[0].strip("<")
    assert page.headers["link"].endswith('rel="next"')
    rest = client.get(follow).json()
    assert ([task["index"] for task in rest["items"]], rest["next_cursor"]) == ([1], None)
    assert client.get("/v1/tasks?status=running&status=failed").json()["items"] == []


def test_waiting_returns_when_the_task_ends(client, birds, learn):
    task = post(client, birds).json()
    thread = threading.Timer(0.3, learn, [task["id"]])
    thread.start()
    ended = client.get(f"/v1/tasks/{task['id']}?wait=30").json()
    thread.join()
    assert (ended["status"], ended["version"]) == ("succeeded", 1)
    assert ended["finished_at"] > ended["started_at"] > ended["created_at"]


def test_waiting_gives_up_in_time(client, birds):
    task = post(client, birds).json()
    assert client.get(f"/v1/tasks/{task['id']}?wait=0.2").json()["status"] == "queued"


def test_cancel_and_retry(client, birds, learn):
    url = f"/v1/tasks/{post(client, birds).json()['id']}"
    not_yet = client.post(f"{url}/retry")
    assert (not_yet.status_code, not_yet.json()["code"]) == (409, "task-not-retryable")
    cancelled = client.post(f"{url}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
    again = client.post(f"{url}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "task-ended")
    assert version_of(client, birds) is None
    retried = client.post(f"{url}/retry")
    assert (retried.status_code, retried.json()["status"]) == (202, "queued")
    learn(retried.json()["id"])
    assert client.get(url).json()["status"] == "succeeded"


def test_a_running_task_is_asked_to_stop(client, birds, session_factory):
    task_id = post(client, birds).json()["id"]
    with session_factory.begin() as session:
        queue.claim(session, task_id, "tests", 60)
    assert client.post(f"/v1/tasks/{task_id}/cancel").json()["status"] == "cancelling"
    busy = client.delete(f"/v1/learners/{birds}")
    assert (busy.status_code, busy.json()["code"]) == (409, "learner-busy")


def test_only_a_held_task_is_published_by_hand(client, birds):
    answer = client.post(f"/v1/tasks/{post(client, birds).json()['id']}/publish")
    assert (answer.status_code, answer.json()["code"]) == (409, "task-not-held")


@pytest.mark.parametrize(
    ("labels", "options", "code"),
    [
        (("heron",), {}, "label-known"),
        (("HERON",), {}, "label-confusable"),
        (("\uff28eron",), {}, "label-confusable"),
        (("owl",), {"expected_head_version": 3}, "stale-head"),
    ],
)
def test_what_contradicts_the_learner_is_refused(client, taught, labels, options, code):
    answer = client.post(
        f"/v1/learners/{taught}/tasks",
        files=[*image_files(labels), ("options", (None, json.dumps(options)))],
    )
    assert (answer.status_code, answer.json()["code"]) == (409, code)


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        (("owl", "heron"), [("heron", "The label is known already.")]),
        (("owl", "HERON"), [("HERON", "The label looks like heron.")]),
    ],
)
def test_labels_that_are_refused_are_named(client, taught, labels, named):
    answer = client.post(f"/v1/learners/{taught}/tasks", files=image_files(labels)).json()
    assert [(error["label"], error["detail"]) for error in answer["errors"]] == named
    assert {error["pointer"] for error in answer["errors"]} == {"/classes"}


@pytest.mark.parametrize("path", ["/v1/tasks/seven", "/v1/learners/My Birds"])
def test_a_name_or_id_of_another_form_says_which_form_it_has(client, path):
    [error] = client.get(path).json()["errors"]
    assert ("such as tsk_" in error["detail"]) or ("[a-z0-9][a-z0-9-]{0,62}" in error["detail"])


def test_known_classes_can_be_extended(client, taught, learn):
    options = ("options", (None, json.dumps({"mode": "extend", "expected_head_version": 1})))
    answer = client.post(
        f"/v1/learners/{taught}/tasks", files=[*image_files(("heron", "owl")), options]
    )
    assert answer.status_code == 202
    learn(answer.json()["id"])
    wait_until(lambda: version_of(client, taught) == 2)
    labels = [
        entry["label"] for entry in client.get(f"/v1/learners/{taught}/classes").json()["items"]
    ]
    assert labels == ["heron", "egret", "owl"]


def test_one_image_under_two_labels_is_a_contradiction(client, birds):
    files = [("images", ("a.png", make_image("heron", i % 3), "image/png")) for i in range(6)]
    data = {"labels": ["heron"] * 3 + ["egret"] * 3}
    answer = client.post(f"/v1/learners/{birds}/tasks", files=files, data=data)
    assert (answer.status_code, answer.json()["code"]) == (409, "label-conflict")
    assert len(answer.json()["errors"]) == 6


def test_samples_are_listed_shown_and_dropped(client, taught, teach, app):
    task_id = client.get("/v1/tasks").json()["items"][0]["id"]
    page = client.get(f"/v1/tasks/{task_id}/samples?split=eval").json()["items"]
    assert {(sample["label"], sample["split"]) for sample in page} == {
        ("heron", "eval"),
        ("egret", "eval"),
    }
    image = client.get(f"/v1/samples/{page[0]['id']}/image")
    assert image.headers["content-type"] == "image/png"
    assert "sandbox" in image.headers["content-security-policy"]
    before = version_of(client, taught)
    context = app.state.context
    with context.session_factory() as session:
        [features] = held_out.of_task(session, task_id)
    assert context.blobs.exists(features)
    assert client.delete(f"/v1/tasks/{task_id}/samples").json() == {"deleted": 12}
    assert not context.blobs.exists(features)
    assert client.get(f"/v1/tasks/{task_id}/samples").json()["items"] == []
    assert client.get(f"/v1/samples/{page[0]['id']}/image").status_code == 404
    assert version_of(client, taught) == before
    assert teach(("owl", "wren"))["status"] == "succeeded"


def events_of(text):
    blocks = [
        dict(line.split(": ", 1) for line in block.split("\n"))
        for block in text.strip().split("\n\n")
    ]
    return [(block["event"], int(block["id"]), json.loads(block["data"])) for block in blocks]


def test_events_stream_to_the_end_and_resume(client, birds, learn):
    task_id = post(client, birds).json()["id"]
    url = f"/v1/tasks/{task_id}/events"
    thread = threading.Timer(0.3, learn, [task_id])
    thread.start()
    answer = client.get(url, headers={"Accept": "text/event-stream"})
    thread.join()
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer.text)
    kinds = [kind for kind, _, _ in events]
    assert (kinds[0], kinds[1], kinds[-1]) == ("queued", "started", "end")
    assert {"phase", "evaluated", "published"} < set(kinds)
    assert [seq for _, seq, _ in events] == sorted(seq for _, seq, _ in events)
    assert events[-1][2]["status"] == "succeeded"
    rest = client.get(url, headers={"Last-Event-ID": str(events[2][1])})
    assert events_of(rest.text) == events[3:]
    page = client.get(f"{url}?limit=2", headers={"Accept": "application/json"}).json()
    assert [event["seq"] for event in page["items"]] == [events[0][1], events[1][1]]
    more = client.get(
        f"{url}?cursor={page['next_cursor']}", headers={"Accept": "application/json"}
    ).json()
    assert more["items"][0]["seq"] == events[2][1]
    assert client.get("/v1/tasks/tsk_00000000/events").status_code == 404
    assert client.get(url, headers={"Last-Event-ID": "x"}).status_code == 422


def test_the_same_key_does_nothing_twice(client, birds):
    headers = {"Idempotency-Key": "one"}
    first = post(client, birds, headers=headers)
    again = post(client, birds, headers=headers)  # httpx makes another multipart boundary
    assert again.status_code == first.status_code == 202
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotent-replayed"] == "true"
    other = post(client, birds, ("owl", "wren"), headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    assert len(client.get("/v1/tasks").json()["items"]) == 1


def test_a_refused_request_frees_its_key(client, birds):
    headers = {"Idempotency-Key": "one"}
    refused = client.post(
        f"/v1/learners/{birds}/tasks", files=image_files(("heron",), 1), headers=headers
    )
    assert refused.status_code == 422
    assert post(client, birds, headers=headers).status_code == 202


def test_parallel_requests_with_one_key_make_one_learner(client):
    body = {"name": "owls", "strategy": "simplecil", "backbone": "tiny"}
    answers = []

    def create():
        answers.append(client.post("/v1/learners", json=body, headers={"Idempotency-Key": "k"}))

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    codes = [answer.status_code for answer in answers]
    assert set(codes) <= {201, 409}
    assert all(
        a.json()["code"] == "idempotency-in-progress" for a in answers if a.status_code == 409
    )
    fresh = [a for a in answers if a.status_code == 201 and "idempotent-replayed" not in a.headers]
    assert len(fresh) == 1


def test_a_full_disk_refuses_uploads(client, birds, settings, app):
    context = app.state.context
    object.__setattr__(context, "settings", settings.model_copy(update={"min_free_bytes": 2**60}))
    answer = post(client, birds)
    assert (answer.status_code, answer.json()["code"]) == (507, "insufficient-storage")


def test_too_many_uploads_at_once_are_refused(client, birds, app, monkeypatch):
    decoder = app.state.context.decoder
    decode, gate = decoder.decode, threading.Event()

    def slowly(data, form):
        gate.wait()
        return decode(data, form)

    monkeypatch.setattr(decoder, "decode", slowly)
    threads = [threading.Thread(target=post, args=(client, birds, (str(i),))) for i in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: decoder.uploads.n_under_way == 4)
        answer = post(client, birds)
    finally:
        gate.set()
        for thread in threads:
            thread.join()
    assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
    assert answer.headers["retry-after"] == "1"
    assert len(client.get("/v1/tasks").json()["items"]) == 4
    assert post(client, birds).status_code == 202
