"""Why an image is answered as it is: the same numbers as the answer, and what it would be otherwise."""

import io

import pytest
from PIL import Image

from registry import keys
from tests.factories import make_image
from tests.service.api import predict, version_of
from tests.waiting import wait_until

PNG = {"Content-Type": "image/png"}


@pytest.fixture
def routed(client, teach):
    """A learner whose synapses all fire: its threshold is nothing."""
    config = {"epochs": 2, "bottleneck": 8, "threshold": 0.0}
    body = {"name": "birds", "strategy": "artsy_gaussian", "backbone": "tiny", "config": config}
    assert client.post("/v1/learners", json=body).status_code == 201
    for labels in (("heron", "egret"), ("stork", "crane")):
        assert teach(labels)["status"] == "succeeded"
    wait_until(lambda: version_of(client, "birds") == 2)
    return "birds"


def why(client, prediction_id, index=0):
    return client.get(f"/v1/predictions/{prediction_id}/images/{index}/why")


def test_the_numbers_are_those_of_the_answer(client, taught):
    prediction_id, [first, second] = predict(
        client, make_image("egret", 50), make_image("heron", 51), trace="full"
    )
    for index, result in enumerate((first, second)):
        account = why(client, prediction_id, index).json()
        assert (account["label"], account["version"]) == (result["label"], 1)
        assert account["score"] == pytest.approx(result["score"], abs=1e-5)
        assert account["novelty"] == pytest.approx(result["novelty"], abs=1e-3)
        assert account["known"] == result["known"]
        assert [each["label"] for each in account["top"]] == [r["label"] for r in result["top"]]
        assert account["stored"] == {"label": result["label"], "score": result["score"]}
        assert account["synapses"] == account["heads"] == []
        assert account["functional"]["label"] == result["label"]


def test_each_synapse_that_fired_says_what_the_answer_is_without_it(client, routed):
    prediction_id, [result] = predict(client, make_image("stork", 50), trace="full")
    fired = result["route"]["functional"]
    assert fired
    account = why(client, prediction_id).json()
    assert account["score"] == pytest.approx(result["score"], abs=1e-5)
    assert account["passes"] == result["route"]["passes"]
    without = result["route"]["without"]
    assert account["functional"]["label"] == without["label"]
    assert account["functional"]["score"] == pytest.approx(without["score"], abs=1e-5)
    states = {one["task"]: one["state"] for one in account["synapses"]}
    assert [task for task, state in states.items() if state == "functional"] == fired
    for one in account["synapses"]:
        if one["state"] == "functional":
            assert one["current"] >= one["threshold"]
            assert one["otherwise"] is not None
            assert one["score_otherwise"] <= 1
    if len(fired) == 1:
        [only] = [one for one in account["synapses"] if one["state"] == "functional"]
        assert only["otherwise"]["score"] == pytest.approx(without["score"], abs=1e-5)
    assert any("fired" in sentence for sentence in account["sentences"])


def test_the_version_that_answered_is_asked_and_not_the_live_one(client, taught, teach):
    prediction_id, [result] = predict(client, make_image("egret", 50))
    assert teach(("stork",))["status"] == "succeeded"
    wait_until(lambda: version_of(client, taught) == 2)
    account = why(client, prediction_id).json()
    assert (account["version"], account["live_version"]) == (1, 2)
    assert account["score"] == pytest.approx(result["score"], abs=1e-5)
    assert {each["label"] for each in account["top"]} == {"heron", "egret"}


def test_a_posted_image_is_accounted_for_and_not_stored(client, taught):
    answer = client.post(f"/v1/learners/{taught}/why", content=make_image("egret", 5), headers=PNG)
    account = answer.json()
    assert (answer.status_code, account["label"]) == (200, "egret")
    assert account["prediction"] is account["stored"] is None
    assert client.get(f"/v1/learners/{taught}/predictions").json()["items"] == []
    files = [("images", (f"{i}.png", make_image("egret", i), "image/png")) for i in range(2)]
    refused = client.post(f"/v1/learners/{taught}/why", files=files)
    assert (refused.status_code, refused.json()["code"]) == (413, "too-many-images")


def test_what_a_class_is_known_from_counts_and_names_are_those_of_now(client, taught):
    prediction_id, [result] = predict(client, make_image("egret", 50))
    change = {"name": "Little egret", "min_score": 1.0}
    answer = client.patch(f"/v1/learners/{taught}/classes/{result['label']}", json=change)
    assert answer.status_code == 200, answer.text
    account = why(client, prediction_id).json()
    assert (account["label"], account["min_score"]) == ("Little egret", 1.0)
    assert account["known"] == (account["score"] >= 1.0)
    assert account["stored"]["label"] == "Little egret"


def test_a_hidden_class_is_no_answer_otherwise_either(client, routed):
    image = make_image("stork", 50)
    prediction_id, [result] = predict(client, image)
    hidden = client.patch(f"/v1/learners/{routed}/classes/{result['label']}", json={"hidden": True})
    assert hidden.status_code == 200
    account = why(client, prediction_id).json()
    labels = {account["label"], account["functional"]["label"]}
    labels |= {each["label"] for each in account["top"]}
    labels |= {one["otherwise"]["label"] for one in account["synapses"] if one["otherwise"]}
    assert result["label"] not in labels
    assert account["stored"]["label"] == result["label"]


def test_what_is_not_kept_is_named(client, taught):
    prediction_id, _ = predict(client, make_image("egret", 50))
    assert why(client, prediction_id, 7).json()["code"] == "prediction-image-not-found"
    nobody = why(client, "prd_00000000000000000000000000")
    assert nobody.json()["code"] == "prediction-not-found"


def test_a_version_that_held_what_was_unlearned_is_not_asked(client, taught, learn):
    prediction_id, _ = predict(client, make_image("egret", 50))
    assert why(client, prediction_id).status_code == 200
    answer = client.post(f"/v1/learners/{taught}/unlearn", json={"classes": ["heron"]})
    assert answer.status_code == 202, answer.text
    learn(answer.json()["id"])
    wait_until(lambda: version_of(client, taught) == 2)
    wait_until(lambda: why(client, prediction_id).json().get("code") == "version-erased")


def test_a_map_is_of_the_answer_and_is_drawn_once(client, taught, app, monkeypatch):
    prediction_id, [result] = predict(client, make_image("egret", 50))
    url = f"/v1/predictions/{prediction_id}/images/0"
    heat = client.get(f"{url}/heat").json()
    assert (heat["label"], heat["version"]) == (result["label"], 1)
    assert heat["score"] == pytest.approx(result["score"], abs=1e-3)
    assert [len(row) for row in heat["cells"]] == [8] * 8
    assert 0 <= heat["least_score"] <= 1
    assert result["label"] in heat["sentence"]

    def refuse(*_args, **_kwargs):
        raise AssertionError("asked again")

    monkeypatch.setattr(app.state.context.engine, "examine", refuse)
    drawn = client.get(f"{url}/heat.png")
    assert (drawn.status_code, drawn.headers["content-type"]) == (200, "image/png")
    with Image.open(io.BytesIO(drawn.content)) as image:
        assert image.size == (256, 256)
    assert client.get(f"{url}/heat").json() == heat


def test_a_map_draws_the_images_that_it_asks_about(client, taught, session_factory):
    prediction_id, _ = predict(client, make_image("egret", 50), make_image("heron", 50))
    quotas = {"predict_images_per_minute": 100}
    with session_factory.begin() as session:
        _, key = keys.create_key(session, "few", "predictor", quotas=quotas)
    headers = {"Authorization": f"Bearer {key}"}
    urls = [f"/v1/predictions/{prediction_id}/images/{index}/heat" for index in (0, 1)]
    first, second = [client.get(url, headers=headers) for url in urls]
    assert first.status_code == 200
    assert (second.status_code, second.json()["code"]) == (429, "rate-limited")
    assert client.get(urls[0], headers=headers).status_code == 200, "it is kept"
    assert client.get(urls[1]).status_code == 200


def test_who_may_have_nothing_predicted_is_told_no_reasons(client, taught, session_factory):
    prediction_id, _ = predict(client, make_image("egret", 50))
    with session_factory.begin() as session:
        _, key = keys.create_key(
            session, "none", "predictor", quotas={"predict_images_per_minute": 0}
        )
    headers = {"Authorization": f"Bearer {key}"}
    for address in (
        f"/v1/predictions/{prediction_id}/images/0/why",
        "/v1/learners/birds/versions/1/confusion/images?true=egret&answered=egret",
    ):
        answer = client.get(address, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (429, "rate-limited")
