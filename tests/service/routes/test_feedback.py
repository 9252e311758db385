"""Feedback over HTTP on the real app: said, kept, learned from, and gone with what it is about."""

import io
import os
import time

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import select

from registry.predictions import get_prediction
from registry.tables import FeedbackRow, PredictionImageRow, SampleRow
from registry.upkeep.collection import Collected, collect
from service.app import create_app
from tests.factories import make_image, make_pixels
from tests.service.api import give, image_files, learn_feedback, pending, predict, version_of
from tests.waiting import wait_until

PNG = {"Content-Type": "image/png"}


def code(answer):
    return answer.status_code, answer.json().get("code")


def test_what_was_answered_wrongly_is_answered_rightly_after_a_task_from_feedback(
    client, taught, learn
):
    owls = [make_image("owl", i) for i in range(4)]
    prediction_id, wrong = predict(client, *owls)
    assert "owl" not in {result["label"] for result in wrong}
    for index in range(4):
        stored = give(client, prediction_id, "owl", index)
        assert stored.status_code == 200, stored.text
    assert [item["label"] for item in stored.json()["feedback"]] == ["owl"] * 4
    assert stored.json()["images"] == [0, 1, 2, 3]
    assert len(pending(client)) == 4
    posted = learn_feedback(client)
    assert posted.status_code == 202, posted.text
    task = posted.json()
    assert (task["from_feedback"], task["classes"]) == (4, ["owl"])
    assert task["samples"] == {"train": 3, "eval": 1}
    assert pending(client) == []
    learn(task["id"])
    assert client.get(f"/v1/tasks/{task['id']}").json()["status"] == "succeeded"
    wait_until(lambda: version_of(client, taught) == 2)
    _, right = predict(client, make_image("owl", 77))
    assert right[0]["label"] == "owl"
    told = client.get(f"/v1/predictions/{prediction_id}").json()["feedback"]
    assert {item["task"] for item in told} == {task["id"]}


def test_a_correction_of_a_known_class_is_learned_by_extending(client, taught, learn):
    """Herons that look like egrets: the learner takes them for egrets until it is told."""
    odd = [make_image("egret", i, size=48) for i in range(100, 103)]
    prediction_id, wrong = predict(client, *odd)
    assert {result["label"] for result in wrong} == {"egret"}
    for index in range(3):
        assert give(client, prediction_id, "heron", index).status_code == 200
    assert code(learn_feedback(client)) == (409, "no-feedback")
    task = learn_feedback(client, mode="extend").json()
    assert (task["from_feedback"], task["classes"], task["mode"]) == (3, ["heron"], "extend")
    learn(task["id"])
    assert client.get(f"/v1/tasks/{task['id']}").json()["status"] == "succeeded"


def test_feedback_comes_along_with_uploaded_images(client, taught):
    shared = make_image("owl", 0)
    prediction_id, _ = predict(client, shared, make_image("wren", 0), make_image("heron", 60))
    give(client, prediction_id, "owl", 0)
    give(client, prediction_id, "wren", 1)
    give(client, prediction_id, "heron", 2)
    files = [*image_files(("owl",), 3), ("options", (None, b'{"from_feedback": true}'))]
    task = client.post(f"/v1/learners/{taught}/tasks", files=files).json()
    # The owl came both ways and is one sample; one wren is too few; herons are known.
    assert (task["from_feedback"], task["classes"]) == (1, ["owl"])
    assert sum(task["samples"].values()) == 3
    assert {item["label"] for item in pending(client)} == {"wren", "heron"}


def test_the_option_comes_as_a_query_parameter_too(client, taught):
    prediction_id, _ = predict(client, make_image("owl", 0), make_image("owl", 1))
    give(client, prediction_id, "owl", 0)
    give(client, prediction_id, "owl", 1)
    answer = client.post(
        f"/v1/learners/{taught}/tasks?from_feedback=true", files=image_files(("wren",))
    )
    assert (answer.json()["from_feedback"], answer.json()["classes"]) == (2, ["wren", "owl"])


def test_contradictions_name_the_feedback(client, taught):
    owl = make_image("owl", 0)
    first, _ = predict(client, owl, make_image("owl", 1))
    second, _ = predict(client, owl, make_image("wren", 1))
    for prediction_id, label in ((first, "owl"), (second, "wren")):
        for index in range(2):
            assert give(client, prediction_id, label, index).status_code == 200
    refused = learn_feedback(client)
    assert code(refused) == (409, "label-conflict")
    named = {(error["prediction"], error["index"]) for error in refused.json()["errors"]}
    assert named == {(first, 0), (second, 0)}
    assert len(pending(client)) == 4
    assert client.delete(f"/v1/predictions/{second}/feedback/0").status_code == 204
    task = learn_feedback(client).json()
    assert (task["from_feedback"], task["classes"]) == (2, ["owl"])


def test_a_cancelled_task_gives_its_feedback_back_and_another_takes_it(client, taught):
    prediction_id, _ = predict(client, make_image("owl", 0), make_image("owl", 1))
    for index in range(2):
        give(client, prediction_id, "owl", index)
    first = learn_feedback(client).json()
    assert code(give(client, prediction_id, "wren")) == (409, "feedback-taken")
    taken = client.delete(f"/v1/predictions/{prediction_id}/feedback/0")
    assert code(taken) == (409, "feedback-taken")
    client.post(f"/v1/tasks/{first['id']}/cancel")
    assert len(pending(client)) == 2
    second = learn_feedback(client).json()
    assert second["from_feedback"] == 2
    retried = client.post(f"/v1/tasks/{first['id']}/retry")
    assert code(retried) == (409, "task-not-retryable")
    assert client.get(f"/v1/tasks/{second['id']}").json()["status"] == "queued"


def test_one_key_takes_feedback_once(client, taught):
    prediction_id, _ = predict(client, make_image("owl", 0), make_image("owl", 1))
    for index in range(2):
        give(client, prediction_id, "owl", index)
    body, key = {"options": {"from_feedback": True}}, {"Idempotency-Key": "once"}
    url = f"/v1/learners/{taught}/tasks"
    first = client.post(url, json=body, headers=key)
    again = client.post(url, json=body, headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"


def test_what_cannot_be_said_is_refused(client, taught):
    prediction_id, results = predict(client, make_image("owl", 0), b"no image")
    assert "problem" in results[1]
    for index in (1, 2):
        refused = give(client, prediction_id, "owl", index)
        assert code(refused) == (422, "validation")
        assert refused.json()["errors"][0]["pointer"] == "/body/index"
    for label in ("", "a\u200bb", "x" * 200):
        assert give(client, prediction_id, label).json()["errors"][0]["pointer"] == "/body/label"
    assert code(give(client, prediction_id, "HERON")) == (409, "label-confusable")
    assert code(give(client, "prd_0000000000", "owl")) == (404, "prediction-not-found")
    unstored, _ = predict(client, make_image("owl", 0), store=False)
    assert code(give(client, unstored, "owl")) == (404, "prediction-not-found")
    gone = client.delete(f"/v1/predictions/{prediction_id}/feedback/0")
    assert code(gone) == (404, "feedback-not-found")
    assert give(client, prediction_id, "  owl ").json()["feedback"][0]["label"] == "owl"


@pytest.mark.parametrize("pixel", [(0, 0, 0, 0), (200, 10, 10, 255)])
def test_an_image_that_shows_nothing_is_answered_but_not_kept(client, taught, pixel):
    buffer = io.BytesIO()
    Image.new("RGBA", (32, 32), pixel).save(buffer, "PNG")
    prediction_id, _ = predict(client, buffer.getvalue())
    assert client.get(f"/v1/predictions/{prediction_id}").json()["images"] == []
    assert code(give(client, prediction_id, "owl")) == (409, "image-not-kept")


def test_a_kept_image_is_read_as_samples_are(client, taught, role_keys):
    prediction_id, _ = predict(client, make_image("owl", 3))
    url = f"/v1/predictions/{prediction_id}/images/0"
    answer = client.get(url, headers={"Authorization": f"Bearer {role_keys['reader']}"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert "sandbox" in answer.headers["content-security-policy"]
    pixels = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert (pixels == make_pixels("owl", 3)).all()
    missing = client.get(f"/v1/predictions/{prediction_id}/images/1")
    assert code(missing) == (404, "prediction-image-not-found")
    assert code(client.get("/v1/predictions/prd_0000000000/images/0")) == (
        404,
        "prediction-not-found",
    )


def test_readers_cannot_say_and_predictors_cannot_learn(client, taught, role_keys):
    prediction_id, _ = predict(client, make_image("owl", 0))
    reader, predictor = (
        {"Authorization": f"Bearer {role_keys[role]}"} for role in ("reader", "predictor")
    )
    url, body = f"/v1/predictions/{prediction_id}/feedback", {"index": 0, "label": "owl"}
    assert code(client.post(url, json=body, headers=reader)) == (403, "forbidden")
    assert client.post(url, json=body, headers=predictor).status_code == 200
    assert client.delete(f"{url}/0", headers=reader).status_code == 403
    learning = client.post(
        f"/v1/learners/{taught}/tasks", json={"options": {"from_feedback": True}}, headers=predictor
    )
    assert code(learning) == (403, "forbidden")
    assert client.delete(f"{url}/0", headers=predictor).status_code == 204


def test_lists_and_filters(client, taught):
    plain, _ = predict(client, make_image("heron", 60))
    corrected, results = predict(client, make_image("owl", 0), make_image("owl", 1))
    give(client, corrected, "owl", 0)
    give(client, corrected, "owl", 1)
    url = f"/v1/learners/{taught}/predictions"
    assert [item["id"] for item in client.get(f"{url}?feedback=true").json()["items"]] == [
        corrected
    ]
    assert [item["id"] for item in client.get(f"{url}?feedback=false").json()["items"]] == [plain]
    page = client.get(f"/v1/learners/{taught}/feedback?limit=1")
    assert 'rel="next"' in page.headers["link"]
    [newest] = page.json()["items"]
    assert (newest["prediction"], newest["index"], newest["label"]) == (corrected, 1, "owl")
    assert (newest["answered"], newest["filename"]) == (results[1]["label"], "1.png")
    assert client.get(f"/v1/learners/{taught}/feedback?pending=false").json()["items"] == []


def test_classes_are_called_as_they_are_called_now(client, taught):
    prediction_id, _ = predict(client, make_image("egret", 60), make_image("egret", 61))
    renamed = client.patch(f"/v1/learners/{taught}/classes/heron", json={"name": "grey heron"})
    assert renamed.status_code == 200, renamed.text
    said = give(client, prediction_id, "grey heron")
    assert said.json()["feedback"][0]["label"] == "grey heron"
    give(client, prediction_id, "heron", 1)
    assert {item["label"] for item in pending(client)} == {"grey heron"}
    assert learn_feedback(client, mode="extend").json()["from_feedback"] == 2


def age_all(blobs):
    for info in list(blobs.listing()):
        path = blobs.root / "sha256" / info.sha256[:2] / info.sha256[2:]
        os.utime(path, (time.time() - 48 * 3600,) * 2)


def test_the_collector_keeps_images_of_predictions_until_the_learner_goes(
    client, taught, blobs, session_factory
):
    prediction_id, _ = predict(client, make_image("owl", 0))
    give(client, prediction_id, "owl")
    url = f"/v1/predictions/{prediction_id}/images/0"
    age_all(blobs)
    assert collect(session_factory, blobs) == Collected()
    assert client.get(url).status_code == 200
    assert client.delete(f"/v1/learners/{taught}").status_code == 204
    with session_factory() as session:
        for row in (FeedbackRow, PredictionImageRow):
            assert session.scalars(select(row)).all() == []
    age_all(blobs)
    assert collect(session_factory, blobs).n_blobs > 0
    assert list(blobs.listing()) == []
    assert client.get(url).status_code == 404


def test_deleting_a_tasks_images_leaves_a_predictions_copy(client, taught, session_factory):
    with session_factory() as session:
        sample = session.scalars(select(SampleRow).where(SampleRow.label == "heron")).first()
    twin = client.get(f"/v1/samples/{sample.id}/image").content
    prediction_id, _ = predict(client, twin)
    url = f"/v1/predictions/{prediction_id}/images/0"
    assert client.get(url).content == twin
    dropped = client.delete(f"/v1/tasks/{sample.task_id}/samples").json()["deleted"]
    assert dropped == 12 - 1
    assert client.get(url).content == twin


@pytest.mark.parametrize("limit", ["memory", "disk", "switch"])
def test_without_room_answers_are_stored_without_their_images(
    client, taught, session_factory, blobs, settings, role_keys, limit
):
    changes = {
        "memory": {"prediction_image_backlog_bytes": 32 * 32 * 3 + 1},
        "disk": {"min_free_bytes": 1 << 60},
        "switch": {"keep_prediction_images": False},
    }
    other = create_app(settings.model_copy(update=changes[limit]), session_factory, blobs)
    with TestClient(other, headers={"Authorization": f"Bearer {role_keys['admin']}"}) as small:
        wait_until(lambda: version_of(small, taught) == 1)
        prediction_id, results = predict(small, *(make_image("owl", i) for i in range(3)))
        assert all("label" in result for result in results)
        stored = small.get(f"/v1/predictions/{prediction_id}").json()
        metrics = small.get("/metrics").text
    assert stored["results"] == results
    assert len(stored["images"]) == (1 if limit == "memory" else 0)
    n_lost = {"memory": 2, "disk": 3, "switch": 0}[limit]
    assert f"filopodia_prediction_images_not_kept_total {n_lost}.0" in metrics


def test_room_is_given_back_when_images_are_written(client, taught, app):
    """The bound holds at any moment, not for the lifetime of the service."""
    budget = app.state.context.writer._budget
    budget._most_bytes = 2 * 32 * 32 * 3
    for i in range(5):
        prediction_id, _ = predict(client, make_image("owl", 2 * i), make_image("owl", 2 * i + 1))
        assert client.get(f"/v1/predictions/{prediction_id}").json()["images"] == [0, 1]


def test_unlearning_takes_feedback_and_its_image_along(
    client, taught, teach, learn, session_factory
):
    teach(("owl", "wren"))
    wait_until(lambda: version_of(client, taught) == 2)
    shown, _ = predict(client, make_image("heron", 60), make_image("heron", 61))
    give(client, shown, "owl", 0)
    give(client, shown, "egret", 1)
    posted = client.post(f"/v1/learners/{taught}/unlearn", json={"tasks": [2]})
    assert posted.status_code == 202, posted.text
    learn(posted.json()["id"])
    with session_factory() as session:
        assert get_prediction(session, shown).results[0]["label"]
    left = client.get(f"/v1/predictions/{shown}").json()
    assert left["images"] == [1]
    assert [item["label"] for item in left["feedback"]] == ["egret"]
