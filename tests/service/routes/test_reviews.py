"""Review over HTTP on the real app: what waits, why, and what is settled of it."""

import pytest

from registry import keys, learners
from tests.factories import keep_images, make_image
from tests.service.api import learn_feedback, pending, predict

REVIEW = "/v1/learners/birds/review"


def review(client, query=""):
    answer = client.get(f"{REVIEW}?{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def settle(client, images, **what):
    return client.post(REVIEW, json={"images": images, **what})


def test_what_was_asked_waits_is_named_and_learned(client, taught, learn):
    """The life of a new class that somebody only photographed."""
    predict(client, *(make_image("owl", i) for i in range(4)), make_image("heron", 60))
    items = review(client, "sure=true")["items"]
    images = [image for item in items for image in item["images"]]
    assert len(images) == 5
    first = items[0]
    assert {"prediction": first["prediction"], "index": first["index"]} == first["images"][0]
    assert first["top"][0]["label"] == first["label"]
    owls = [image for image in images if image["index"] < 4]
    done = settle(client, owls, label="owl").json()
    assert (done["images"], done["left_out"]) == (4, 0)
    assert {item["label"] for item in pending(client)} == {"owl"}
    [left] = review(client, "sure=true")["items"]
    assert [image["index"] for image in left["images"]] == [4]
    task = learn_feedback(client).json()
    assert (task["from_feedback"], task["classes"]) == (4, ["owl"])


def test_confirm_discard_and_undo(client, taught):
    prediction_id, results = predict(client, make_image("heron", 60), make_image("egret", 60))
    images = [{"prediction": prediction_id, "index": i} for i in range(2)]
    confirmed = settle(client, images[:1], confirm=True).json()
    assert [item["label"] for item in pending(client)] == [results[0]["label"]]
    discarded = settle(client, images, discard=True).json()
    assert (discarded["images"], discarded["left_out"]) == (1, 1)
    assert review(client, "sure=true")["items"] == []
    for act, n in ((confirmed, 1), (discarded, 1), (discarded, 0)):
        undone = client.delete(f"{REVIEW}/{act['id']}").json()
        assert (undone["id"], undone["images"]) == (act["id"], n)
    assert pending(client) == []
    assert sum(len(item["images"]) for item in review(client, "sure=true")["items"]) == 2


@pytest.mark.parametrize(
    "body",
    [
        {"images": []},
        {"images": [{"prediction": "prd_00000000"}]},
        {"images": [{"prediction": "prd_00000000"}], "label": "owl", "discard": True},
        {"images": [{"prediction": "prd_00000000"}], "label": " "},
        {"images": [{"prediction": "x"}], "discard": True},
    ],
)
def test_what_says_nothing_or_too_much_is_refused(client, taught, body):
    assert client.post(REVIEW, json=body).status_code == 422


def test_a_confusable_name_is_refused(client, taught):
    prediction_id, _ = predict(client, make_image("heron", 60))
    refused = settle(client, [{"prediction": prediction_id}], label="HERON")
    assert (refused.status_code, refused.json()["code"]) == (409, "label-confusable")


def test_a_class_is_called_by_its_name(client, taught):
    client.patch("/v1/learners/birds/classes/heron", json={"name": "Great heron"})
    client.patch("/v1/learners/birds/classes/egret", json={"name": "Little egret"})
    prediction_id, _ = predict(client, make_image("heron", 60))
    for name in ("Great heron", "heron"):
        [item] = review(client, f"sure=true&label={name}")["items"]
        assert item["label"] == "Great heron"
        assert "heron" not in {one["label"] for one in item["top"]}
    settle(client, [{"prediction": prediction_id}], label="Little egret")
    assert [item["label"] for item in pending(client)] == ["Little egret"]


def test_pages_and_filters(client, taught, session_factory, blobs):
    with session_factory.begin() as session:
        learner = learners.get_learner(session, "birds")
        for i in range(7):
            keep_images(session, blobs, learner, (f"class {i}",), score=0.45 + i / 100)
    seen, query = [], "limit=3"
    while True:
        page = review(client, query)
        seen += [item["label"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        query = f"limit=3&cursor={page['next_cursor']}"
    assert sorted(seen) == [f"class {i}" for i in range(7)]
    assert seen[0] == "class 0"
    assert len(review(client, "min_score=0.485")["items"]) == 3
    assert len(review(client, "version=2")["items"]) == 0
    assert len(review(client, "until=2020-01-01T00:00:00Z")["items"]) == 0
    assert client.get(f"{REVIEW}?cursor=x").status_code == 422
    assert client.get(f"{REVIEW}?min_score=2").status_code == 422


def test_a_reader_looks_and_changes_nothing(client, taught, role_keys):
    prediction_id, _ = predict(client, make_image("heron", 60))
    reader = {"Authorization": f"Bearer {role_keys['reader']}"}
    assert client.get(REVIEW, headers=reader).status_code == 200
    body = {"images": [{"prediction": prediction_id}], "discard": True}
    assert client.post(REVIEW, json=body, headers=reader).status_code == 403
    assert client.delete(f"{REVIEW}/act_00000000", headers=reader).status_code == 403


def test_a_limited_key_settles_nothing_of_other_learners(client, taught, app, session_factory):
    prediction_id, _ = predict(client, make_image("heron", 60))
    client.post("/v1/learners", json={"name": "fish", "strategy": "simplecil", "backbone": "tiny"})
    with session_factory.begin() as session:
        _, key = keys.create_key(session, "fishmonger", "trainer", learners=["fish"])
    app.state.context.keys.refresh()
    headers = {"Authorization": f"Bearer {key}"}
    body = {"images": [{"prediction": prediction_id}], "discard": True}
    answer = client.post("/v1/learners/fish/review", json=body, headers=headers)
    assert (answer.status_code, answer.json()["images"], answer.json()["left_out"]) == (200, 0, 1)
    assert client.get(REVIEW, headers=headers).status_code == 404
    assert len(review(client, "sure=true")["items"]) == 1
