"""Renaming and hiding classes: what answers call them, and what stays as it was learned."""

from urllib.parse import quote

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.inference.answers import hide
from service.inference.engine import Scores
from service.settings import ServiceSettings
from tests.factories import make_image, make_learner
from tests.service.api import image_files
from tests.service.dashboard.published import publish_task
from tests.waiting import wait_until, within

URL = "/v1/learners/birds/classes"
PNG = {"Content-Type": "image/png"}
GREAT = "Great egret"


def predict(client, label="egret", query=""):
    return client.post(
        f"/v1/learners/birds/predictions?top_k=10{query}",
        content=make_image(label, 99),
        headers=PNG,
    )


def answered(client, label="egret", query=""):
    return predict(client, label, query).json()["results"][0]


def change(client, label="egret", **body):
    answer = client.patch(f"{URL}/{label}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_classes_are_listed_by_label_and_name(client, taught):
    first, second = client.get(URL).json()["items"]
    assert (first["label"], first["name"], first["hidden"]) == ("heron", "heron", False)
    assert first["task"] == 1
    assert set(first["samples"]) == {"train", "eval"}
    assert second["accuracy_now"] is not None
    change(client, name=GREAT, hidden=True)
    assert client.get(URL).json()["items"] == [
        first,
        second | {"name": GREAT, "hidden": True},
    ]


def test_a_new_name_is_everywhere_at_once_and_what_was_learned_stays(client, taught):
    before = predict(client).json()
    version = client.get("/v1/learners/birds/versions/1").json()
    assert before["results"][0]["label"] == "egret"
    assert change(client, name=GREAT)["name"] == GREAT
    after = predict(client).json()["results"][0]
    assert (after["label"], after["score"]) == (GREAT, before["results"][0]["score"])
    assert {entry["label"] for entry in after["top"]} == {GREAT, "heron"}
    stored = client.get(f"/v1/predictions/{before['id']}").json()["results"][0]
    assert stored["label"] == stored["top"][0]["label"] == GREAT
    for name in (GREAT, "egret"):
        found = client.get("/v1/learners/birds/predictions", params={"label": name}).json()
        assert [item["results"][0]["label"] for item in found["items"]] == [GREAT, GREAT]
    confusion = client.get("/v1/learners/birds/versions/1/confusion").json()
    assert confusion["classes"] == ["heron", GREAT]
    assert set(confusion["confusion"]["1"]) == {"heron", GREAT}
    task = client.get("/v1/tasks").json()["items"][0]
    samples = client.get(f"/v1/tasks/{task['id']}/samples", params={"label": GREAT}).json()
    assert {sample["label"] for sample in samples["items"]} == {"egret"}
    assert task["classes"] == ["heron", "egret"]
    assert client.get("/v1/learners/birds/versions/1").json() == version
    assert change(client, GREAT, name=None)["name"] == "egret"
    assert answered(client)["label"] == "egret"


def test_feedback_names_a_class_either_way(client, taught):
    change(client, name=GREAT)
    prediction = predict(client, "heron").json()["id"]
    path = f"/v1/predictions/{prediction}/feedback"
    for name in (GREAT, "egret"):
        answer = client.post(path, json={"index": 0, "label": name})
        assert answer.json()["feedback"][0]["label"] == GREAT
    (given,) = client.get("/v1/learners/birds/feedback").json()["items"]
    assert (given["label"], given["answered"]) == (GREAT, "heron")


def test_later_uploads_may_use_both_the_name_and_the_label(client, taught, learn):
    change(client, name=GREAT)
    files = [
        *image_files((GREAT,), 3),
        *(("images", (f"egret/{i}.png", make_image("egret", 20 + i), "image/png")) for i in (1, 2)),
    ]
    refused = client.post("/v1/learners/birds/tasks", files=files)
    assert (refused.status_code, refused.json()["code"]) == (409, "label-known")
    answer = client.post("/v1/learners/birds/tasks?mode=extend", files=files)
    assert answer.status_code == 202, answer.text
    assert answer.json()["classes"] == ["egret"]
    assert answer.json()["samples"] == {"train": 5, "eval": 0}  # one is held out already
    learn(answer.json()["id"])
    assert client.get("/v1/learners/birds/versions/2").json()["classes"] == ["heron", "egret"]
    assert [item["name"] for item in client.get(URL).json()["items"]] == ["heron", GREAT]


def test_a_class_is_unlearned_by_its_name(client, taught, learn):
    change(client, name=GREAT)
    answer = client.post("/v1/learners/birds/unlearn", json={"classes": [GREAT]})
    assert answer.json()["classes"] == ["egret"]
    learn(answer.json()["id"])
    assert [item["label"] for item in client.get(URL).json()["items"]] == ["heron"]


@pytest.mark.parametrize(
    ("name", "code"), [("heron", "label-known"), ("HERON", "label-confusable")]
)
def test_a_name_of_another_class_is_refused(client, taught, name, code):
    answer = client.patch(f"{URL}/egret", json={"name": name})
    assert (answer.status_code, answer.json()["code"]) == (409, code)
    # And so is a new class of a name in use.
    change(client, "egret", name="stork")
    files = image_files((name.replace("heron", "stork").replace("HERON", "STORK"),), 3)
    answer = client.post("/v1/learners/birds/tasks", files=files)
    assert (answer.status_code, answer.json()["code"]) == (409, code)


@pytest.mark.parametrize(
    "label", ["a/b", "/", "a?b#c", "50%", "../x", "x/..", "a\\b", "+ &", "..."]
)
def test_a_label_that_needs_escaping_is_addressed(client, session, blobs, label):
    learned_before(session, blobs, label)
    quoted = quote(label, safe="")
    assert client.get(f"{URL}/{quoted}").json()["label"] == label
    assert client.patch(f"{URL}/{quoted}", json={"name": "owl"}).json()["name"] == "owl"
    assert client.patch(URL, params={"label": label}, json={"hidden": True}).json()["hidden"]


@pytest.mark.parametrize("label", [".", ".."])
def test_a_class_from_before_that_no_address_can_hold_is_renamed_and_unlearned(
    client, session, blobs, label
):
    learned_before(session, blobs, label)
    answer = client.patch(URL, params={"label": label}, json={"name": "dotted"})
    assert (answer.status_code, answer.json()["name"]) == (200, "dotted")
    assert client.get(f"{URL}/dotted").json()["label"] == label
    for name in (label, "dotted"):
        answer = client.patch(f"{URL}/heron", json={"name": name})
        assert answer.status_code in (409, 422)
    etag = client.get(f"{URL}/dotted").headers["ETag"]
    stale = client.patch(
        URL, params={"label": label}, json={"hidden": True}, headers={"If-Match": etag + "x"}
    )
    assert stale.json()["code"] == "precondition-failed"
    answer = client.post("/v1/learners/birds/unlearn", json={"classes": [label]})
    assert (answer.status_code, answer.json()["classes"]) == (202, [label])


def test_a_class_is_only_changed_by_query_where_a_label_is_named(client, taught):
    assert client.patch(URL, json={"hidden": True}).status_code == 422
    missing = client.patch(URL, params={"label": "owl"}, json={"hidden": True})
    assert missing.json()["code"] == "class-not-found"


def learned_before(session, blobs, label):
    """Have a learner that has learned a class of any label, as one from before may have."""
    make_learner(session, "birds")
    publish_task(session, blobs, "birds", ("heron", label), [1.0])


def test_a_hidden_class_is_never_answered(client, taught, teach):
    teach(("crane",))
    wait_until(lambda: predict(client).json()["version"] == 2)
    whole = answered(client)
    assert whole["label"] == "egret"
    change(client, hidden=True)
    found = answered(client)
    rest = [entry for entry in whole["top"] if entry["label"] != "egret"]
    assert [entry["label"] for entry in found["top"]] == [entry["label"] for entry in rest]
    assert found["label"] == rest[0]["label"]
    assert sum(entry["score"] for entry in found["top"]) == pytest.approx(1, abs=1e-5)
    ratio = found["top"][0]["score"] / found["top"][1]["score"]
    assert ratio == pytest.approx(rest[0]["score"] / rest[1]["score"], rel=0.01)
    for key in ("novelty", "known", "route"):
        assert found[key] == whole[key]
    # Older versions hide it too, and what was answered before stays as it was.
    assert answered(client, query="&version=1")["label"] == "heron"
    history = client.get("/v1/learners/birds/predictions", params={"label": "egret"}).json()
    assert len(history["items"]) >= 1
    accuracy = client.get("/v1/learners/birds/accuracy").json()
    assert accuracy["matrix"][1][0] is not None
    change(client, hidden=False)
    assert answered(client) == whole


def test_when_all_classes_are_hidden_nothing_is_answered(client, taught):
    for label in ("heron", "egret"):
        change(client, label, hidden=True)
    answer = predict(client)
    assert (answer.status_code, answer.json()["code"]) == (409, "all-classes-hidden")


def test_the_dashboard_tries_with_names_and_without_what_is_hidden(client, taught):
    change(client, name=GREAT)
    change(client, "heron", hidden=True)
    form = {"image": ("egret.png", make_image("egret", 99), "image/png")}
    text = client.post("/admin/learners/birds/try", files=form).text
    assert GREAT in text
    answer = text.partition(GREAT)[2]
    assert "100" in answer
    change(client, hidden=True)
    refused = client.post("/admin/learners/birds/try", files=form)
    assert refused.status_code == 409
    assert "Show one of the classes again" in refused.text


def test_probabilities_of_what_is_left_sum_to_one_whatever_was_hidden():
    probabilities = np.array([[0.9, 0.1, 0], [1, 0, 0], [1, 1e-30, 3e-30]], dtype=np.float32)
    nothing = np.zeros((3, 0), dtype=np.float32)
    scores = Scores(
        probabilities=probabilities,
        novelty=np.zeros(3, dtype=np.float32),
        currents=nothing,
        thresholds=nothing[0],
        functional=nothing.astype(bool),
        passes=np.ones(3, dtype=np.int64),
        unrouted=probabilities[::-1],
        queue_s=0,
        infer_s=0,
        batch_images=3,
    )
    left = hide(scores, ("a", "b", "c"), {"a"})
    expected = np.array([[-1, 1, 0], [-1, 0.5, 0.5], [-1, 0.25, 0.75]])
    assert left.probabilities == pytest.approx(expected)
    assert left.unrouted == pytest.approx(expected[::-1])
    assert hide(scores, ("a", "b", "c"), {"d"}) is scores


def test_another_service_process_follows_within_a_second(
    client, taught, session_factory, blobs, role_keys, tmp_path
):
    settings = ServiceSettings(
        data_dir=tmp_path / "other", device="cpu", min_free_bytes=0, decode_threads=1
    )
    (tmp_path / "other").mkdir()
    app = create_app(settings, session_factory, blobs)
    headers = {"Authorization": f"Bearer {role_keys['admin']}"}
    with TestClient(app, headers=headers) as other:
        wait_until(lambda: predict(other).status_code == 200)
        change(client, name=GREAT)
        # Its watcher looks once a second; the answer itself takes a moment too.
        with within(2):
            wait_until(lambda: answered(other)["label"] == GREAT)


def test_a_state_that_was_changed_meanwhile_is_not_overwritten(client, taught):
    read = client.get(f"{URL}/egret")
    assert read.json()["name"] == "egret"
    etag = read.headers["ETag"]
    first = client.patch(f"{URL}/egret", json={"name": GREAT}, headers={"If-Match": etag})
    assert first.status_code == 200
    second = client.patch(f"{URL}/egret", json={"hidden": True}, headers={"If-Match": etag})
    assert (second.status_code, second.json()["code"]) == (412, "precondition-failed")
    again = {"If-Match": first.headers["ETag"]}
    assert client.patch(f"{URL}/egret", json={"hidden": True}, headers=again).status_code == 200
    assert client.get(f"{URL}/egret").json() == first.json() | {"hidden": True}


def test_what_is_absent_stays_as_it_is(client, taught):
    change(client, name=GREAT, hidden=True)
    assert change(client) == change(client, hidden=True) == change(client, name=GREAT)
    log = client.get("/v1/audit?action=class.update").json()["items"]
    assert log[-1]["details"] == {
        "name": {"before": "egret", "after": GREAT},
        "hidden": {"before": False, "after": True},
    }


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("egret", {"name": ""}, 422, "validation"),
        ("egret", {"name": "a\x00b"}, 422, "validation"),
        ("egret", {"name": "x" * 129}, 422, "validation"),
        ("egret", {"hidden": None}, 422, "validation"),
        ("egret", {"label": "x"}, 422, "validation"),
        ("stork", {"hidden": True}, 404, "class-not-found"),
        ("a%2Fb", {"hidden": True}, 404, "class-not-found"),
        ("%00", {"hidden": True}, 422, "validation"),
    ],
)
def test_refusals(client, taught, path, body, status, code):
    answer = client.patch(f"{URL}/{path}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_label_with_slashes_and_other_scripts_has_an_address(client, birds, learn):
    label = "Ardea/alba é"
    files = image_files(("heron", "egret"), 3)
    labels = ["heron"] * 3 + [label] * 3
    answer = client.post("/v1/learners/birds/tasks", files=files, data={"labels": labels})
    learn(answer.json()["id"])
    path = f"{URL}/Ardea%2Falba%20e%CC%81"
    assert client.get(path).json()["label"] == label
    assert client.patch(path, json={"name": "白鷺"}).json()["name"] == "白鷺"
    assert client.get(f"{URL}/%E7%99%BD%E9%B7%BA").json()["label"] == label


@pytest.mark.parametrize(("role", "status"), [("predictor", 403), ("trainer", 200)])
def test_trainers_rename(client, taught, role_keys, role, status):
    headers = {"Authorization": f"Bearer {role_keys[role]}"}
    answer = client.patch(f"{URL}/egret", json={"hidden": True}, headers=headers)
    assert answer.status_code == status


def test_a_class_is_known_from_a_score_on(client, taught):
    url, heron = "/v1/learners/birds/classes/heron", make_image("heron", 99)

    def asked():
        headers = {"Content-Type": "image/png"}
        path = "/v1/learners/birds/predictions"
        return client.post(path, content=heron, headers=headers).json()["results"][0]

    before = asked()
    assert (before["label"], before.get("below")) == ("heron", None)
    changed = client.patch(url, json={"min_score": 1.0}).json()
    assert (changed["min_score"], changed["hidden"]) == (1.0, False)
    after = wait_until(lambda: asked() if asked().get("below") else None)
    assert (after["known"], after["below"]) == (False, 1.0)
    assert (after["label"], after["score"]) == (before["label"], before["score"])
    assert client.patch(url, json={"hidden": False}).json()["min_score"] == 1.0
    etag = client.get(url).headers["ETag"]
    assert client.patch(url, json={"min_score": None}).json()["min_score"] is None
    assert client.get(url).headers["ETag"] != etag
    wait_until(lambda: asked() == before)
    entry = client.get("/v1/audit?action=class.update").json()["items"][0]
    assert entry["details"]["min_score"] == {"before": 1.0, "after": None}
    for wrong in (-0.1, 1.1, "high"):
        assert client.patch(url, json={"min_score": wrong}).json()["code"] == "validation"
