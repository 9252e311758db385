"""Subscriptions over HTTP: from the answer or the task to the receiver, which really listens."""

import json
import threading

import pytest

from registry.statuses import TaskStatus
from service.notifying.messages import signature_of
from tests.factories import make_image
from tests.service.api import predict
from tests.service.notifying.receivers import receiving
from tests.waiting import PACE, wait_until, within


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"notify_allow": ("127.0.0.1",)})


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


def subscribe(client, target="https://example.org/hook", events=("task.ended",), **fields):
    body = {"name": "pond", "target": target, "events": list(events), **fields}
    return client.post("/v1/subscriptions", json=body)


def next_post(receiver):
    assert receiver.got.acquire(timeout=PACE.scaled(60))
    post = receiver.posts[-1]
    return json.loads(post.body), post.headers


def test_an_answer_that_the_rule_wants_is_told_with_a_signature(client, taught, receiver):
    rule = {"labels": ["heron"], "min_score": 0.1}
    created = subscribe(client, receiver.url, ["prediction.made"], learner=taught, rule=rule)
    assert created.status_code == 201, created.text
    predict(client, make_image("egret", 50))
    prediction, results = predict(client, make_image("egret", 51), make_image("heron", 52))
    body, headers = next_post(receiver)
    assert (body["type"], body["data"]["prediction"]) == ("prediction.made", prediction)
    [told] = body["data"]["results"]
    assert (told["index"], told["label"], told["score"]) == (1, "heron", results[1]["score"])
    signed = signature_of(
        created.json()["secret"],
        headers["webhook-id"],
        int(headers["webhook-timestamp"]),
        receiver.posts[0].body,
    )
    assert headers["webhook-signature"] == signed
    assert len(receiver.posts) == 1
    subscription = client.get(created.headers["Location"]).json()
    assert subscription["rule"]["labels"] == ["heron"]
    assert "secret" not in subscription


def test_the_end_of_a_task_is_told(client, birds, teach, receiver):
    subscribe(client, receiver.url, ["task.ended"], rule={"statuses": ["succeeded"]})
    task = teach(("heron", "egret"))
    body, _ = next_post(receiver)
    assert body["data"]["task"] == task["id"]
    assert body["data"]["status"] == TaskStatus.SUCCEEDED


def test_images_alike_of_no_class_are_told_once(client, taught, receiver, monkeypatch):
    monkeypatch.setattr("service.use_cases.unknown_notices.EVERY_S", 0.05)
    client.patch(f"/v1/learners/{taught}/classes/heron", json={"min_score": 1.0})
    subscribe(client, receiver.url, ["unknown.found"], rule={"min_images": 3})
    ids = [predict(client, make_image("heron", index))[0] for index in range(60, 64)]
    app = client.app
    app.state.context.writer.wait_written(10)
    app.state.context.notifier.wake()
    body, _ = next_post(receiver)
    data = body["data"]
    assert (body["type"], data["learner"], data["n_images"]) == ("unknown.found", "birds", 4)
    assert {image["prediction"] for image in data["images"]} == set(ids)
    [one] = client.get("/v1/subscriptions").json()["items"]
    wait_until(lambda: client.get("/v1/subscriptions").json()["items"][0]["messages"])
    assert len(client.get(f"/v1/subscriptions/{one['id']}/messages").json()["items"]) == 1


def test_a_test_is_sent_and_its_tries_are_read(client, receiver):
    receiver.answers = [(500, {}), (204, {})]
    one = subscribe(client, receiver.url).json()
    sent = client.post(f"/v1/subscriptions/{one['id']}/test")
    assert (sent.status_code, sent.json()["event"]) == (202, "test")
    next_post(receiver)
    address = f"/v1/subscriptions/{one['id']}/messages"

    def read():
        return client.get(address).json()["items"][0]

    failed = wait_until(lambda: read() if read()["tries"] else None)
    assert (failed["status"], failed["tries"][0]["error"]) == (
        "waiting",
        "The receiver answered 500.",
    )
    assert failed["next_try_at"] > failed["tries"][0]["at"]
    assert client.get(f"/v1/subscriptions/{one['id']}").json()["failing_since"]
    again = client.post(f"{address}/{failed['id']}/send")
    assert again.status_code == 202
    wait_until(lambda: read()["status"] == "delivered")
    assert receiver.posts[0].headers["webhook-id"] == receiver.posts[-1].headers["webhook-id"]


def test_a_prediction_waits_for_no_receiver(client, taught):
    with receiving() as slow:
        slow.hold = threading.Event()
        subscribe(client, slow.url, ["prediction.made"])
        with within(10.0):
            for index in range(5):
                predict(client, make_image("heron", index))
        assert slow.got.acquire(timeout=PACE.scaled(60))


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("http://10.0.0.1/hook", "FILOPODIA_NOTIFY_ALLOW"),
        ("http://169.254.169.254/latest/meta-data", "FILOPODIA_NOTIFY_ALLOW"),
        ("http://[::ffff:10.0.0.1]/", "FILOPODIA_NOTIFY_ALLOW"),
        ("http://167772161/", "FILOPODIA_NOTIFY_ALLOW"),
        ("https://user:password@example.org/", "user and password"),
        ("ftp://example.org/", "Give a URL"),
        ("file:///etc/passwd", "Give a URL"),
        ("https://", "Give a URL"),
        ("http://example.org:99999/", "Give a URL"),
        ("http://example.org\r\nX: y/", "visible characters"),
        ("http://example.org/ a", "visible characters"),
        ("mqtt:pond", "FILOPODIA_MQTT_URL"),
    ],
)
def test_a_target_that_no_message_may_go_to_is_refused(client, target, said):
    answer = subscribe(client, target)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation")
    [error] = answer.json()["errors"]
    assert error["pointer"] == "/body/target"
    assert said in error["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {"events": []},
        {"events": ["moon.full"]},
        {"rule": {"min_score": 2}},
        {"rule": {"moon": "full"}},
        {"rule": {"min_images": 1}},
        {"learner": "Birds!"},
        {"name": ""},
    ],
)
def test_what_makes_no_sense_is_refused(client, body):
    full = {"name": "pond", "target": "https://example.org", "events": ["task.ended"], **body}
    assert client.post("/v1/subscriptions", json=full).status_code == 422


def test_a_repeated_request_makes_no_second_one_and_shows_no_secret(client):
    headers = {"Idempotency-Key": "once"}
    body = {"name": "pond", "target": "https://example.org", "events": ["task.ended"]}
    first, second = (client.post("/v1/subscriptions", json=body, headers=headers) for _ in range(2))
    assert first.json()["secret"].startswith("whsec_")
    assert (second.json()["id"], second.json()["secret"]) == (first.json()["id"], None)
    assert len(client.get("/v1/subscriptions").json()["items"]) == 1


def test_one_is_changed_turned_off_and_deleted(client):
    address = f"/v1/subscriptions/{subscribe(client).json()['id']}"
    body = {"name": "lake", "events": ["prediction.made"], "rule": {"known": False}}
    changed = client.patch(address, json={**body, "enabled": False}).json()
    assert (changed["name"], changed["rule"]["known"], changed["enabled"]) == ("lake", False, False)
    assert changed["disabled_reason"] == "Somebody has turned it off."
    assert client.post(f"{address}/test").json()["code"] == "subscription-disabled"
    assert client.patch(address, json={"enabled": True}).json()["disabled_reason"] is None
    assert client.patch(address, json={"target": "http://10.0.0.1/"}).status_code == 422
    assert client.delete(address).status_code == 204
    for answer in (client.get(address), client.delete(address), client.get(f"{address}/messages")):
        assert answer.json()["code"] == "subscription-not-found"


def test_a_learner_that_is_not_there_cannot_be_listened_to(client):
    assert subscribe(client, learner="nobody").json()["code"] == "learner-not-found"


@pytest.mark.parametrize("role", ["reader", "predictor", "trainer"])
def test_only_admins_read_and_make_them(client, role_keys, role):
    headers = {"Authorization": f"Bearer {role_keys[role]}"}
    assert client.get("/v1/subscriptions", headers=headers).status_code == 403
    assert client.post("/v1/subscriptions", json={}, headers=headers).status_code == 403
