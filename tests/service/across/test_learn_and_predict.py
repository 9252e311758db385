from fastapi.testclient import TestClient

from registry.intervals import wilson
from service.app import create_app
from tests.factories import make_image
from tests.service.api import version_of
from tests.waiting import wait_until


def test_two_tasks_are_learned_and_the_first_is_still_known(client, birds, teach):
    first = teach(("heron", "egret"))
    assert (first["status"], first["version"], first["index"]) == ("succeeded", 1, 1)
    second = teach(("owl", "wren"))
    assert (second["status"], second["version"], second["error"]) == ("succeeded", 2, None)
    wait_until(lambda: version_of(client, birds) == 2)
    labels = ("heron", "egret", "owl", "wren")
    files = [("images", (f"{label}.png", make_image(label, 50), "image/png")) for label in labels]
    answer = client.post(f"/v1/learners/{birds}/predictions", files=files)
    assert answer.status_code == 200
    body = answer.json()
    assert body["version"] == 2
    assert [result["label"] for result in body["results"]] == list(labels)
    assert [result["task"] for result in body["results"]] == [1, 1, 2, 2]
    assert body["timing_ms"]["batch"] == 4


def test_a_learner_reads_what_it_has_learned(client, taught):
    learner = client.get(f"/v1/learners/{taught}").json()
    assert (learner["classes"], learner["tasks"]) == (2, 1)
    assert (learner["head_version"], learner["live_version"]) == (1, 1)
    assert learner["accuracy"]["last"] == 1.0
    classes = client.get(f"/v1/learners/{taught}/classes").json()["items"]
    assert [(c["label"], c["task"], c["samples"]) for c in classes] == [
        ("heron", 1, {"train": 5, "eval": 1}),
        ("egret", 1, {"train": 5, "eval": 1}),
    ]
    history = client.get(f"/v1/learners/{taught}/accuracy").json()
    assert (history["matrix"], history["n"], history["versions"]) == ([[1.0]], [[2]], [1])
    csv = client.get(f"/v1/learners/{taught}/accuracy?format=csv")
    assert csv.headers["content-type"].startswith("text/csv")
    low, high = wilson(2, 2)
    assert csv.text.splitlines() == [
        "version,task,accuracy,n,low,high,n_cross_validated",
        f"1,1,1.0,2,{low},{high},0",
    ]
    measure = {
        "value": 1.0,
        "low": low,
        "high": high,
        "n": 2,
        "n_cross_validated": 0,
        "measured_by": "held_out",
        "too_few": True,
    }
    measures = history["measures"]
    assert (measures["matrix"], measures["last"], measures["average"]) == (
        [[measure]],
        *2 * [measure],
    )
    assert (measures["plasticity"], measures["forgetting"]) == ([measure], None)
    assert learner["accuracy"]["measures"] == {
        "last": measure,
        "average": measure,
        "forgetting": None,
    }
    alone = {**measure, "n": 1, "low": wilson(1, 1)[0]}
    assert [(c["measured_learned"], c["measured_now"]) for c in classes] == [(alone, alone)] * 2
    [version] = client.get(f"/v1/learners/{taught}/versions").json()["items"]
    assert version["is_live"]
    assert len(version["artifact_sha256"]) == 64
    assert client.get(f"/v1/learners/{taught}/versions/1").json() == version
    confusion = client.get(f"/v1/learners/{taught}/versions/1/confusion").json()
    assert confusion["confusion"] == {"1": {"heron": {"heron": 1}, "egret": {"egret": 1}}}


def test_predictions_survive_a_restart(client, taught, app, settings, session_factory, blobs):
    image = make_image("egret", 77)
    url = f"/v1/learners/{taught}/predictions?trace=full"
    before = client.post(url, content=image, headers={"Content-Type": "image/png"}).json()
    again = create_app(settings, session_factory, blobs)
    with TestClient(again, headers={"Authorization": client.headers["Authorization"]}) as second:
        after = second.post(url, content=image, headers={"Content-Type": "image/png"}).json()
    assert after["results"] == before["results"]
