import pytest

from tests.factories import make_image
from tests.service.api import image_files, version_of
from tests.waiting import wait_until

URL = "/v1/learners/birds/corrections"


@pytest.fixture
def correct(client, learn):
    """Asks for a correction, does it, and returns how it ended."""

    def run(**body):
        answer = client.post(URL, json=body)
        assert answer.status_code == 202, answer.text
        learn(answer.json()["id"])
        return client.get(f"/v1/tasks/{answer.json()['id']}").json()

    return run


def listed(client, **params):
    answer = client.get("/v1/learners/birds/samples", params={"limit": 100, **params})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def ids(client, label, split="train", **params):
    return [image["id"] for image in listed(client, label=label, split=split, **params)]


def predict(client, label):
    answer = client.post(
        "/v1/learners/birds/predictions?top_k=10",
        content=make_image(label, 99),
        headers={"Content-Type": "image/png"},
    )
    return answer.json()["results"][0]


def test_images_are_moved_and_removed_and_it_is_undone(client, taught, correct):
    first, second, *_ = ids(client, "heron")
    [held_out, *_] = ids(client, "heron", "eval")
    before = predict(client, "heron")
    changes = [
        {"sample": first, "to": "egret"},
        {"sample": second, "to": None},
        {"sample": held_out, "to": "egret"},
    ]

    task = correct(changes=changes)

    assert (task["status"], task["mode"], task["version"]) == ("succeeded", "correct", 2)
    assert (task["classes"], task["samples"]) == (["heron", "egret"], {"train": 0, "eval": 0})
    done = client.get("/v1/learners/birds/versions/2").json()["metrics"]["correction"]
    assert (done["n_moved"], done["n_removed"], done["n_held_out"]) == (1, 1, 1)
    wait_until(lambda: version_of(client, "birds") == 2)
    assert first in ids(client, "egret")
    moved = next(image for image in listed(client) if image["id"] == first)
    assert (moved["label"], moved["taught_label"]) == ("egret", "heron")
    [removed] = listed(client, removed=True)
    assert (removed["id"], removed["quarantine"]) == (second, "removed")
    assert second not in ids(client, "heron")
    assert predict(client, "heron")["top"] != before["top"]

    undone = correct(undo=task["id"])

    assert (undone["version"], undone["options"]["undoes"]) == (3, task["id"])
    wait_until(lambda: version_of(client, "birds") == 3)
    assert listed(client, removed=True) == []
    assert (first in ids(client, "heron"), second in ids(client, "heron")) == (True, True)
    after = predict(client, "heron")
    assert [each["label"] for each in after["top"]] == [each["label"] for each in before["top"]]
    assert after["score"] == pytest.approx(before["score"], abs=1e-4)


def test_classes_are_named_as_they_are_shown(client, taught, correct):
    assert client.patch("/v1/learners/birds/classes/egret", json={"name": "White"}).is_success
    [first, *_] = ids(client, "heron")
    assert correct(changes=[{"sample": first, "to": "White"}])["status"] == "succeeded"
    assert first in ids(client, "White")
    assert first in ids(client, "egret")


def test_pages_follow_each_other(client, taught):
    everything = [image["id"] for image in listed(client)]
    found, cursor = [], None
    while True:
        params = {"limit": 5, **({"cursor": cursor} if cursor else {})}
        page = client.get("/v1/learners/birds/samples", params=params).json()
        found += [image["id"] for image in page["items"]]
        if not (cursor := page["next_cursor"]):
            break
    assert found == everything


def test_what_cannot_be_corrected_is_refused_by_its_place(client, taught):
    [first, *_] = ids(client, "heron")
    strange = {"sample": "smp_" + "0" * 26, "to": "egret"}
    refused = client.post(URL, json={"changes": [{"sample": first, "to": "egret"}, strange]}).json()
    assert (refused["code"], refused["errors"][0]["pointer"]) == (
        "unknown-content",
        "/body/changes/1/sample",
    )
    refused = client.post(URL, json={"changes": [{"sample": first, "to": "dodo"}]}).json()
    assert refused["errors"][0]["pointer"] == "/body/changes/0/to"
    assert "teach a new class" in refused["detail"]
    everything = [{"sample": each, "to": "egret"} for each in ids(client, "heron")]
    twice = [{"sample": first, "to": None}] * 2
    for body, status, code in (
        ({"changes": [{"sample": first, "to": "heron"}]}, 409, "nothing-to-correct"),
        ({"changes": everything}, 409, "class-would-be-empty"),
        ({"changes": everything[:1], "expected_head_version": 0}, 409, "stale-head"),
        ({"undo": "tsk_" + "0" * 26}, 404, "task-not-found"),
        ({"undo": client.get("/v1/tasks").json()["items"][0]["id"]}, 409, "nothing-to-correct"),
        ({}, 422, "validation"),
        ({"changes": twice}, 422, "validation"),
        ({"changes": everything[:1], "undo": "tsk_" + "0" * 26}, 422, "validation"),
    ):
        answer = client.post(URL, json=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), body


def test_what_waits_counts_as_done(client, taught):
    [first, *_] = ids(client, "heron")
    body = {"changes": [{"sample": first, "to": "egret"}]}
    assert client.post(URL, json=body).status_code == 202
    assert client.post(URL, json=body).json()["code"] == "nothing-to-correct"


def test_a_strategy_that_cannot_says_which_can(client, teach):
    body = {"name": "birds", "strategy": "finetune", "backbone": "tiny"}
    assert client.post("/v1/learners", json=body).status_code == 201
    answer = client.post("/v1/learners/birds/tasks", files=image_files(("heron", "egret")))
    sample = client.get(f"/v1/tasks/{answer.json()['id']}/samples").json()["items"][0]["id"]
    refused = client.post(URL, json={"changes": [{"sample": sample, "to": "egret"}]})
    assert (refused.status_code, refused.json()["code"]) == (409, "cannot-correct")
    assert "artsy, " in refused.json()["detail"]
    told = {each["name"]: each["corrects"] for each in client.get("/v1/strategies").json()["items"]}
    assert {name for name, can in told.items() if can} == {"artsy", "simplecil"}


def test_the_same_request_is_done_once(client, taught):
    [first, *_] = ids(client, "heron")
    body, headers = {"changes": [{"sample": first, "to": None}]}, {"Idempotency-Key": "once"}
    one, two = (client.post(URL, json=body, headers=headers) for _ in range(2))
    assert one.json() == two.json()
    assert one.headers["Location"] == f"/v1/tasks/{one.json()['id']}"


def test_a_reader_looks_and_corrects_nothing(client, taught, role_keys):
    [first, *_] = ids(client, "heron")
    reader = {"Authorization": f"Bearer {role_keys['reader']}"}
    assert client.get("/v1/learners/birds/samples", headers=reader).status_code == 200
    body = {"changes": [{"sample": first, "to": None}]}
    assert client.post(URL, json=body, headers=reader).json()["code"] == "forbidden"
