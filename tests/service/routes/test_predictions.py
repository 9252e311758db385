import base64
import threading
from datetime import UTC, datetime

import pytest

from tests.factories import make_image
from tests.service.api import version_of
from tests.service.bad_images import encoded, noise
from tests.waiting import wait_until

PNG = {"Content-Type": "image/png"}


def predict(client, learner, query="", label="heron", index=50):
    return client.post(
        f"/v1/learners/{learner}/predictions{query}", content=make_image(label, index), headers=PNG
    )


def test_before_the_first_version_there_is_nothing_to_answer(client, birds):
    answer = predict(client, birds)
    assert (answer.status_code, answer.json()["code"]) == (409, "nothing-learned")
    assert predict(client, "nobody").json()["code"] == "learner-not-found"


def test_the_three_forms_give_the_same_answer(client, taught):
    image = make_image("egret", 50)
    url = f"/v1/learners/{taught}/predictions"
    raw = client.post(url, content=image, headers=PNG).json()["results"][0]
    form = client.post(url, files=[("images", ("photos/a.png", image, "text/plain"))]).json()[
        "results"
    ][0]
    body = {"images": [{"base64": base64.b64encode(image).decode(), "filename": "a.png"}]}
    inline = client.post(url, json=body).json()["results"][0]
    assert raw["label"] == "egret"
    assert form == inline == {**raw, "filename": "a.png"}


def test_scores_are_probabilities_over_all_classes(client, taught):
    [result] = predict(client, taught, "?top_k=50&trace=full").json()["results"]
    assert sum(top["score"] for top in result["top"]) == pytest.approx(1, abs=1e-5)
    assert result["top"][0] == {k: result[k] for k in ("label", "score", "task")}
    assert result["route"] == {
        "functional": [],
        "silent": [],
        "passes": 1,
        "synapses": [],
    }
    [short] = predict(client, taught, "?top_k=1&trace=none").json()["results"]
    assert len(short["top"]) == 1
    assert "route" not in short
    assert "synapses" not in predict(client, taught).json()["results"][0]["route"]


@pytest.mark.parametrize(
    ("strategy", "config", "can_fire"),
    [
        # No current of evidence reaches 1.
        ("artsy", {"epochs": 1, "bottleneck": 8, "threshold": 1.0}, False),
        # One that a network gives may.
        ("artsy_paper", {"epochs": 1, "bottleneck": 8, "threshold": 1.0}, True),
    ],
)
def test_a_synapse_that_can_never_fire_is_told_from_a_silent_one(
    client, teach, strategy, config, can_fire
):
    body = {"name": "owls", "strategy": strategy, "backbone": "tiny", "config": config}
    assert client.post("/v1/learners", json=body).status_code == 201
    assert teach(("heron", "egret"), learner="owls")["status"] == "succeeded"
    wait_until(lambda: version_of(client, "owls") == 1)
    [result] = predict(client, "owls", "?trace=full").json()["results"]
    [synapse] = result["route"]["synapses"]
    assert (synapse["task"], synapse["can_fire"]) == (1, can_fire)
    if not can_fire:
        assert synapse["state"] == "silent"
        form = {"image": ("a.png", make_image("heron", 50), "image/png")}
        html = client.post("/admin/learners/owls/try", files=form).text
        assert '<span class="small muted">never fires</span>' in html
        assert "has not earned its pass" in html
        assert "1.00" not in html


def test_an_image_like_nothing_learned_is_not_known(client, taught):
    answer = client.post(
        f"/v1/learners/{taught}/predictions", content=encoded(noise(), "PNG"), headers=PNG
    )
    [result] = answer.json()["results"]
    assert result["known"] == (result["novelty"] <= 0.99)


def test_one_bad_image_of_several_carries_its_own_problem(client, taught):
    files = [
        ("images", ("a.png", make_image("heron", 50), "image/png")),
        ("images", ("b.png", b"", "image/png")),
        ("images", ("c.png", make_image("egret", 50), "image/png")),
    ]
    answer = client.post(f"/v1/learners/{taught}/predictions", files=files)
    assert answer.status_code == 207
    first, second, third = answer.json()["results"]
    assert (first["label"], third["label"]) == ("heron", "egret")
    assert (second["index"], second["filename"]) == (1, "b.png")
    assert second["problem"]["code"] == "image-empty"
    assert "label" not in second
    all_bad = client.post(f"/v1/learners/{taught}/predictions", files=files[1:2] * 2)
    assert all_bad.status_code == 207
    stored = client.get(f"/v1/learners/{taught}/predictions?label=egret").json()["items"]
    assert stored[0]["id"] == answer.json()["id"]


def test_too_many_images(client, taught):
    files = [("images", (f"{i}.png", make_image("heron", i), "image/png")) for i in range(65)]
    url = f"/v1/learners/{taught}/predictions"
    answer = client.post(url, files=files)
    assert (answer.status_code, answer.json()["code"]) == (413, "too-many-parts")
    assert client.post(url, files=files[:64]).status_code == 200
    image = {"base64": base64.b64encode(make_image()).decode()}
    answer = client.post(url, json={"images": [image] * 65})
    assert (answer.status_code, answer.json()["code"]) == (413, "too-many-images")


def test_an_older_version_is_asked_for_and_the_live_one_rolled_back(client, taught, teach):
    before = predict(client, taught).json()["results"]
    teach(("owl", "wren"))
    wait_until(lambda: version_of(client, taught) == 2)
    old = predict(client, taught, "?version=1").json()
    assert (old["version"], old["results"]) == (1, before)
    alias = client.get(f"/v1/learners/{taught}/aliases/live")
    shown = {"name": "live", "version": 2, "head_version": 2}
    assert (alias.json(), alias.headers["etag"]) == (shown, '"2"')
    url = f"/v1/learners/{taught}/aliases/live"
    stale = client.put(url, json={"version": 1}, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition-failed")
    assert client.put(url, json={"version": 9}).json()["code"] == "version-not-found"
    moved = client.put(url, json={"version": 1}, headers={"If-Match": '"2"'})
    assert (moved.status_code, moved.headers["etag"]) == (200, '"1"')
    wait_until(lambda: version_of(client, taught) == 1)
    assert predict(client, taught).json()["results"] == before
    assert predict(client, taught, "?version=2").json()["version"] == 2
    assert client.get(f"/v1/learners/{taught}").json()["classes"] == 2


def test_older_versions_come_from_the_blob_store_when_not_in_memory(client, taught, teach, app):
    teach(("owl", "wren"))
    wait_until(lambda: version_of(client, taught) == 2)
    app.state.context.store._loaded.clear()
    assert predict(client, taught, "?version=1").json()["version"] == 1


def test_min_version_waits_for_what_is_being_published(client, taught, teach):
    timer = threading.Timer(0.2, teach, [("owl", "wren")])
    timer.start()
    assert predict(client, taught, "?min_version=2").json()["version"] == 2
    timer.join()


def test_min_version_is_not_waited_for_for_ever(client, taught, monkeypatch):
    monkeypatch.setattr("service.use_cases.serving.WAIT_S", 0.1)
    answer = predict(client, taught, "?min_version=5")
    assert (answer.status_code, answer.json()["code"]) == (409, "version-not-served")


def test_the_history_shows_what_was_answered(client, taught):
    since = datetime.now(UTC).isoformat().replace("+", "%2B")
    heron = predict(client, taught, label="heron").json()
    egret = predict(client, taught, label="egret").json()
    predict(client, taught, "?store=false")
    url = f"/v1/learners/{taught}/predictions"
    listed = client.get(url).json()["items"]
    assert [item["id"] for item in listed] == [egret["id"], heron["id"]]
    assert listed[0]["results"] == egret["results"]
    assert [i["id"] for i in client.get(f"{url}?label=heron").json()["items"]] == [heron["id"]]
    assert len(client.get(f"{url}?since={since}").json()["items"]) == 2
    assert client.get(f"{url}?since=2100-01-01T00:00:00Z").json()["items"] == []
    known = client.get(f"{url}?known=true").json()["items"]
    unknown = client.get(f"{url}?known=false").json()["items"]
    assert len(known) + len(unknown) == 2
    page = client.get(f"{url}?limit=1").json()
    rest = client.get(f"{url}?limit=1&cursor={page['next_cursor']}").json()
    assert ([page["items"][0]["id"], rest["items"][0]["id"]]) == [egret["id"], heron["id"]]
    assert client.get(f"/v1/predictions/{heron['id']}").json() == listed[1]


def test_requests_that_would_wait_too_long_are_refused(client, taught, app):
    context = app.state.context
    context.decoder._light_pool._running = 1e12
    answer = predict(client, taught)
    assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
    assert int(answer.headers["retry-after"]) > 1
    context.decoder._light_pool._running = 0.0
    context.engine._running_s = 1000.0
    assert predict(client, taught).json()["code"] == "overloaded"
    context.engine._running_s = 0.0
    assert predict(client, taught).status_code == 200
    assert "filopodia_predictions_refused_total 2.0" in client.get("/metrics").text


def test_a_deleted_learner_is_gone_from_memory_too(client, taught):
    assert client.delete(f"/v1/learners/{taught}").status_code == 204
    wait_until(lambda: predict(client, taught).status_code == 404)
    body = {"name": taught, "strategy": "simplecil", "backbone": "tiny"}
    assert client.post("/v1/learners", json=body).status_code == 201
    assert predict(client, taught).json()["code"] == "nothing-learned"


def test_every_answer_names_one_version_while_versions_are_swapped(client, taught, teach):
    done = threading.Event()
    answers = []

    def ask():
        while not done.is_set():
            answers.append(predict(client, taught, "?store=false&top_k=50"))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for labels in (("owl", "wren"), ("swan", "stork")):
        teach(labels)
    wait_until(lambda: version_of(client, taught) == 3)
    done.set()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {200}
    by_version = {(a.json()["version"], len(a.json()["results"][0]["top"])) for a in answers}
    assert by_version <= {(1, 2), (2, 4), (3, 6)}


def test_predictions_go_on_without_the_database(client, taught, app, monkeypatch):
    predict(client, taught)
    context = app.state.context
    context.watcher.stop()
    context.writer.stop()

    class Gone:
        def __call__(self):
            raise AssertionError("a prediction touched the database")

        begin = __call__

    object.__setattr__(context, "session_factory", Gone())
    assert predict(client, taught).status_code == 200
