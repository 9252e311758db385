"""What a learner's images say of each other, over HTTP, of real learners."""

import pytest

from tests.factories import make_image
from tests.service.api import image_files, version_of
from tests.waiting import wait_until

URL = "/v1/learners/birds/insights"


@pytest.fixture
def mistaught(client, learn):
    """A learner taught two classes, one image of which has the label of the other; its name as sent."""
    client.post("/v1/learners", json={"name": "birds", "strategy": "artsy", "backbone": "tiny"})
    files = image_files(("heron", "egret"), 8)
    wrong = ("images", ("heron/wrong.png", make_image("egret", 77), "image/png"))
    task = client.post("/v1/learners/birds/tasks", files=[*files, wrong]).json()
    learn(task["id"])
    wait_until(lambda: version_of(client, "birds") == 1)
    return "heron/wrong.png"


def read(client, **params):
    def is_ready():
        answer = client.get(URL, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()["ready"]

    wait_until(is_ready)
    return client.get(URL, params=params).json()


def test_a_wrong_label_is_suspected_until_it_is_mended(client, mistaught, learn):
    found = read(client)
    samples = client.get("/v1/learners/birds/samples?limit=100").json()["items"]
    [suspect] = found["suspects"]
    [sample] = [each for each in samples if each["filename"].endswith("wrong.png")]
    assert suspect["sample"] == sample["id"]
    assert (suspect["label"], suspect["looks_like"]) == ("heron", "egret")
    assert suspect["score"] - suspect["own_score"] >= 0.5
    n_train = sum(each["split"] == "train" for each in samples)
    assert found["n_judged"] == found["n_images"] == n_train
    assert {each["label"]: each["n"] for each in found["classes"]}["heron"] == sum(
        each["label"] == "heron" and each["split"] == "train" for each in samples
    )
    near = next(
        each for each in found["look_alikes"] if sample["id"] in (each["sample"], each["other"])
    )
    assert {near["label"], near["other_label"]} == {"heron", "egret"}

    change = {"changes": [{"sample": sample["id"], "to": "egret"}]}
    task = client.post("/v1/learners/birds/corrections", json=change).json()
    learn(task["id"])
    wait_until(lambda: version_of(client, "birds") == 2)

    assert read(client)["suspects"] == []
    assert read(client)["version"] == 2


def test_one_class_alone_and_by_its_name(client, mistaught):
    client.patch("/v1/learners/birds/classes/heron", json={"name": "grey heron"})
    found = read(client, label="grey heron")
    assert [each["label"] for each in found["suspects"]] == ["grey heron"]
    assert [each["label"] for each in found["classes"]] == ["grey heron"]
    assert read(client, label="egret")["suspects"] == []
    assert client.get(URL, params={"label": "dodo"}).json()["code"] == "class-not-found"


def test_what_was_deleted_is_not_named(client, mistaught):
    assert read(client)["suspects"]
    [task] = client.get("/v1/tasks?learner=birds").json()["items"]
    client.delete(f"/v1/tasks/{task['id']}/samples")
    found = read(client)
    for kind in ("suspects", "look_alikes", "duplicates", "pulls"):
        assert found[kind] == []


def test_who_cannot_or_has_learned_nothing_says_so(client):
    client.post("/v1/learners", json={"name": "birds", "backbone": "tiny"})
    assert client.get(URL).json()["code"] == "nothing-learned"
    client.post("/v1/learners", json={"name": "ranked", "strategy": "ranpac", "backbone": "tiny"})
    refused = client.get("/v1/learners/ranked/insights")
    assert (refused.status_code, refused.json()["code"]) == (409, "cannot-look-into")
    assert "artsy" in refused.json()["detail"]
    able = {
        s["name"] for s in client.get("/v1/strategies").json()["items"] if s["looks_into_images"]
    }
    assert able == {"artsy"}
