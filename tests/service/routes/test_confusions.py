"""Which classes a version confuses, and the images behind a cell."""

import pytest

from service.use_cases import confusion_images
from tests.factories import make_image
from tests.service.api import give, predict, version_of
from tests.waiting import wait_until

LABELS = ("heron", "egret", "stork")


def url(rest, learner="birds", number=1):
    return f"/v1/learners/{learner}/versions/{number}/confusion{rest}"


@pytest.fixture(params=["artsy", "artsy_gaussian"])
def measured(client, teach, request):
    """A learner with held-out images, one of a strategy that keeps features and one of another."""
    config = {} if request.param == "artsy" else {"epochs": 1, "bottleneck": 8}
    body = {"name": "birds", "strategy": request.param, "backbone": "tiny", "config": config}
    assert client.post("/v1/learners", json=body).status_code == 201
    assert teach(LABELS, n=20)["status"] == "succeeded"
    wait_until(lambda: version_of(client, "birds") == 1)
    return "birds"


def cell(client, true, answered):
    answer = client.get(url("/images"), params={"true": true, "answered": answered})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_cells_hold_the_images_that_were_counted(client, measured):
    counted = client.get(url("")).json()["confusion"]["1"]
    held_out = {}
    for task in client.get("/v1/learners/birds/tasks").json()["items"]:
        samples = client.get(f"/v1/tasks/{task['id']}/samples?limit=200&split=eval").json()["items"]
        held_out |= {sample["id"]: sample["label"] for sample in samples}
    assert held_out
    for true in LABELS:
        found = {answered: cell(client, true, answered) for answered in LABELS}
        images = [image["sample"] for one in found.values() for image in one["images"]]
        mine = {sample for sample, label in held_out.items() if label == true}
        assert len(images) == len(set(images))
        assert set(images) == mine, "each held-out image is behind one cell of its row"
        for answered, one in found.items():
            assert one["is_whole"]
            assert one["counted"] == counted.get(true, {}).get(answered, 0)
            assert len(one["images"]) + len(one["left_out"]) == one["counted"]
            assert bool(one["n_left_out"]) == any(each["left_out"] for each in found.values())
            assert all(0 <= image["score"] <= 1 for image in one["images"])


def test_answers_are_those_of_predictions(client, measured):
    [first, *_] = [
        (image, answered)
        for answered in LABELS
        for image in cell(client, "heron", answered)["images"]
    ]
    image, answered = first
    png = client.get(f"/v1/samples/{image['sample']}/image").content
    _, [result] = predict(client, png, store=False)
    assert result["label"] == answered
    assert result["score"] == pytest.approx(image["score"], abs=1e-4)


def test_pairs_count_what_people_said(client, measured):
    before = client.get(url("/pairs")).json()
    assert (before["learner"], before["version"]) == ("birds", 1)
    assert before["n"] > 0
    prediction, [result] = predict(client, make_image("heron", 70))
    wrong = next(label for label in LABELS if label != result["label"])
    assert give(client, prediction, wrong).status_code in (200, 201)
    pairs = client.get(url("/pairs"), params={"label": wrong}).json()["pairs"]
    [pair] = [p for p in pairs if (p["true"], p["answered"]) == (wrong, result["label"])]
    assert pair["n_said"] == 1
    said = cell(client, wrong, result["label"])["said"]
    assert [(one["prediction"], one["index"]) for one in said] == [(prediction, 0)]
    assert len(client.get(url("/pairs?limit=1")).json()["pairs"]) <= 1


def test_a_second_look_asks_nothing_again(client, measured, app, monkeypatch):
    first = cell(client, "heron", "heron")

    def refuse(*_args, **_kwargs):
        raise AssertionError("asked again")

    monkeypatch.setattr(app.state.context.engine, "examine", refuse)
    assert cell(client, "heron", "heron") == first


@pytest.mark.parametrize("measured", ["artsy_gaussian"], indirect=True)
def test_of_too_many_to_look_at_only_some_are_asked(client, measured, monkeypatch):
    monkeypatch.setattr(confusion_images, "MOST_LOOKED_AT", 1)
    found = [cell(client, "heron", answered) for answered in LABELS]
    assert sum(len(one["images"]) for one in found) == 1
    assert not any(one["is_whole"] for one in found)


def test_what_is_not_there_is_named(client, measured, role_keys):
    assert client.get(url("/pairs", number=9)).json()["code"] == "version-not-found"
    asked = {"true": "heron", "answered": "egret"}
    assert client.get(url("/images", number=9), params=asked).json()["code"] == "version-not-found"
    nobody = cell(client, "nobody", "heron")
    assert (nobody["images"], nobody["counted"], nobody["is_whole"]) == ([], 0, True)
    reader = {"Authorization": f"Bearer {role_keys['reader']}"}
    assert client.get(url("/pairs"), headers=reader).status_code == 200
    assert client.get(url("/images"), params=asked, headers=reader).status_code == 403
