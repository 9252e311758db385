"""A version over HTTP as an ONNX file: of whom, of what, and how its classes are called."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest

from models import onnx_graphs
from tests.factories import make_image, make_pixels
from tests.waiting import wait_until


def get(client, number=1, **more):
    return client.get(f"/v1/learners/birds/versions/{number}/export", **more)


def opened(answer):
    assert answer.status_code == 200, answer.text
    session = onnxruntime.InferenceSession(answer.content)
    said = session.get_modelmeta().custom_metadata_map
    return session, {name: json.loads(fact) for name, fact in said.items()}


def best(session, facts, label):
    pixels = make_pixels(label, 77, size=facts["preprocessing"]["crop_side"])
    scores, novelty = session.run(["scores", "novelty"], {"images": pixels[None]})
    return facts["labels"][int(scores[0].argmax())], float(scores[0].max()), float(novelty[0])


def answered(client, label, size, version):
    files = {"images": ("a.png", make_image(label, 77, size=size))}
    body = client.post(f"/v1/learners/birds/predictions?version={version}", files=files).json()
    [result] = body["results"]
    return result["label"], result["score"], result["novelty"]


def test_each_version_leaves_as_what_it_knows(client, taught, teach):
    assert teach(("ibis",))["version"] == 2

    for number, labels in ((1, ["heron", "egret"]), (2, ["heron", "egret", "ibis"])):
        answer = get(client, number)
        session, facts = opened(answer)

        name = f'attachment; filename="birds-v{number}.onnx"'
        assert answer.headers["content-disposition"] == name
        assert int(answer.headers["content-length"]) == len(answer.content)
        assert (facts["learner"], facts["version"]) == ("birds", number)
        assert facts["labels"] == labels
        assert facts["strategy"] == client.get("/v1/learners/birds").json()["strategy"]
        for label in (*labels, "plaice"):
            found = best(session, facts, label)
            expected = answered(client, label, facts["preprocessing"]["crop_side"], number)
            assert found[0] == expected[0]
            assert found[1:] == pytest.approx(expected[1:], abs=1e-3)


def test_classes_are_called_as_now_and_hidden_ones_are_not_there(client, taught):
    path = "/v1/learners/birds/classes"
    assert client.patch(f"{path}/heron", json={"name": "grey heron"}).status_code == 200
    wait_until(lambda: opened(get(client))[1]["labels"] == ["grey heron", "egret"])

    assert client.patch(f"{path}/egret", json={"hidden": True}).status_code == 200
    wait_until(lambda: len(opened(get(client))[1]["labels"]) == 1)
    session, facts = opened(get(client))

    assert facts["labels"] == ["grey heron"]
    assert best(session, facts, "egret")[:2] == ("grey heron", pytest.approx(1.0))
    assert client.patch(f"{path}/heron", json={"hidden": True}).status_code == 200
    wait_until(lambda: get(client).status_code == 409)
    assert get(client).json()["code"] == "all-classes-hidden"


def test_who_may_not_and_what_is_not_there(client, taught, role_keys):
    key = {"Authorization": f"Bearer {role_keys['predictor']}"}
    assert get(client, headers=key).json()["code"] == "forbidden"
    assert get(client, 9).json()["code"] == "version-not-found"
    assert get(client, params={"format": "tflite"}).status_code == 422
    assert client.get("/v1/learners/fish/versions/1/export").json()["code"] == "learner-not-found"


def test_what_cannot_be_written_says_why(client, taught, monkeypatch):
    monkeypatch.setattr(onnx_graphs, "PACKAGES", ("onnx", "no_such_package"))

    problem = get(client).json()

    assert (problem["status"], problem["code"]) == (409, "cannot-export")
    assert "not installed" in problem["detail"]


def test_several_can_be_asked_for_at_once_while_predictions_go_on(client, taught):
    with ThreadPoolExecutor(3) as pool:
        files = [pool.submit(get, client) for _ in range(3)]
        answers = [answered(client, "heron", 32, 1) for _ in range(20)]
        files = [file.result() for file in files]

    assert len(set(answers)) == 1
    for file in files:
        session, facts = opened(file)
        assert best(session, facts, "heron")[0] == "heron"
    assert not np.isnan(best(session, facts, "heron")[1])
