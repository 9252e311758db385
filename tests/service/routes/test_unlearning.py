import pytest

from tests.factories import make_image
from tests.service.api import image_files, version_of
from tests.waiting import wait_until

URL = "/v1/learners/birds/unlearn"
PNG = {"Content-Type": "image/png"}


@pytest.fixture
def two(taught, teach):
    """A learner that knows herons and egrets from task 1, and cranes from task 2."""
    assert teach(("crane",))["version"] == 2
    return taught


@pytest.fixture
def unlearn(client, learn):
    """Asks for something to be unlearned, does it, and returns how it ended."""

    def run(learner="birds", **body):
        answer = client.post(f"/v1/learners/{learner}/unlearn", json=body)
        assert answer.status_code == 202, answer.text
        learn(answer.json()["id"])
        return client.get(f"/v1/tasks/{answer.json()['id']}").json()

    return run


def predict(client, learner, query="", label="heron"):
    answer = client.post(
        f"/v1/learners/{learner}/predictions?top_k=10{query}",
        content=make_image(label, 99),
        headers=PNG,
    )
    return answer.json()


def serve(client, number, **body):
    return client.put("/v1/learners/birds/aliases/live", json={"version": number, **body})


def test_what_is_left_is_a_learner_that_never_saw_the_rest(client, two, teach, unlearn):
    body = {"name": "pure", "strategy": "simplecil", "backbone": "tiny"}
    assert client.post("/v1/learners", json=body).status_code == 201
    teach(("heron", "egret"), learner="pure")
    task = unlearn(tasks=[2])
    assert (task["status"], task["version"], task["error"]) == ("succeeded", 3, None)
    assert (task["mode"], task["classes"], task["samples"]) == (
        "unlearn",
        ["crane"],
        {"train": 0, "eval": 0},
    )
    wait_until(lambda: version_of(client, two) == 3)
    wait_until(lambda: version_of(client, "pure") == 1)
    for label in ("heron", "egret", "crane"):
        found, expected = (predict(client, name, label=label) for name in (two, "pure"))
        assert found["results"] == expected["results"]
    version = client.get("/v1/learners/birds/versions/3").json()
    pure = client.get("/v1/learners/pure/versions/1").json()
    # Not only the answers: the very bytes.
    assert version["artifact_sha256"] == pure["artifact_sha256"]
    done = version["metrics"]["unlearning"]
    assert (done["tasks"], done["classes"]) == ([2], ["crane"])
    assert (done["exact"], done["residue"]) == (True, "")
    assert (version["tasks"], version["classes"]) == ([1], ["heron", "egret"])


def test_a_preview_says_what_goes_and_does_nothing(client, two, teach, unlearn):
    assert (
        client.patch("/v1/learners/birds/classes/heron", json={"name": "Grey"}).status_code == 200
    )
    preview = f"{URL}/preview"
    before = client.get("/v1/tasks").json()
    promised = client.post(preview, json={"tasks": [2]}).json()
    assert promised == {
        "learner": "birds",
        "tasks": [2],
        "classes": ["crane"],
        "versions": [2],
        "images": 6,
        "live_version": 2,
    }
    by_name = client.post(preview, json={"classes": ["Grey"]}).json()
    assert (by_name["classes"], by_name["versions"]) == (["heron"], [1, 2])
    for body, code in (
        ({"classes": ["owl"]}, "unknown-content"),
        ({"tasks": [1, 2]}, "nothing-would-remain"),
        ({}, "validation"),
    ):
        assert client.post(preview, json=body).json()["code"] == code
    assert client.get("/v1/tasks").json() == before
    # And it was true.
    unlearn(tasks=[2])
    listed = client.get("/v1/learners/birds/versions").json()["items"]
    assert [v["number"] for v in listed if v["erased_at"]] == promised["versions"]
    assert client.post(preview, json={"classes": ["heron"]}).json()["versions"] == [1, 3]


def test_what_held_it_is_gone(client, two, unlearn):
    asked = predict(client, two, "&version=2")
    assert asked["version"] == 2
    images = client.get("/v1/learners/birds/tasks").json()["items"][0]["id"]
    unlearn(classes=["crane"])
    wait_until(lambda: version_of(client, two) == 3)
    assert client.get(f"/v1/tasks/{images}/samples").json()["items"] == []
    erased = client.get("/v1/learners/birds/versions/2").json()
    assert (erased["artifact_sha256"], erased["classes"][-1]) == (None, "crane")
    assert erased["erased_at"] is not None
    # Also what lay in memory goes.
    wait_until(lambda: predict(client, two, "&version=2").get("code") == "version-erased")
    assert predict(client, two, "&version=1")["version"] == 1
    refused = serve(client, 2)
    assert (refused.status_code, refused.json()["code"]) == (409, "version-erased")
    assert serve(client, 1).status_code == 200
    learner = client.get("/v1/learners/birds").json()
    assert (learner["tasks"], learner["head_version"], learner["live_version"]) == (1, 3, 1)


def test_part_of_a_task(client, two, unlearn, teach):
    unlearn(classes=["egret"])
    history = client.get("/v1/learners/birds/accuracy").json()
    assert (history["tasks"], history["versions"], history["unlearned"]) == ([1, 2], [1, 2, 3], [])
    # One held-out image of each class.
    assert history["n"] == [[2, 0], [2, 1], [1, 1]]
    classes = client.get("/v1/learners/birds/classes").json()["items"]
    assert [(entry["label"], entry["task"]) for entry in classes] == [("heron", 1), ("crane", 2)]
    # And may come again.
    assert teach(("egret",))["status"] == "succeeded"
    classes = client.get("/v1/learners/birds/classes").json()["items"]
    assert [(entry["label"], entry["task"]) for entry in classes][-1] == ("egret", 4)
    assert all(entry["accuracy_learned"] is not None for entry in classes)


def test_is_queued_and_cancelled_and_retried_like_any_task(client, two, learn):
    queued = client.post(URL, json={"tasks": [1], "name": "at their wish"}).json()
    assert (queued["status"], queued["position"], queued["name"]) == ("queued", 1, "at their wish")
    assert queued["options"]["tasks"] == [1]
    cancelled = client.post(f"/v1/tasks/{queued['id']}/cancel")
    assert cancelled.json()["status"] == "cancelled"
    assert client.post(f"/v1/tasks/{queued['id']}/retry").json()["status"] == "queued"
    learn(queued["id"])
    events = client.get(
        f"/v1/tasks/{queued['id']}/events", headers={"Accept": "application/json"}
    ).json()["items"]
    types = [event["type"] for event in events]
    assert types[-3:] == ["evaluated", "published", "end"]
    assert client.get("/v1/learners/birds").json()["classes"] == 1


def test_one_idempotency_key_unlearns_once(client, two):
    headers = {"Idempotency-Key": "once"}
    first = client.post(URL, json={"tasks": [2]}, headers=headers)
    again = client.post(URL, json={"tasks": [2]}, headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert again.headers["Idempotent-Replayed"] == "true"
    assert first.headers["Location"] == again.headers["Location"]


def test_needs_a_trainer(client, two, role_keys):
    for role, status in (("predictor", 403), ("trainer", 202)):
        headers = {"Authorization": f"Bearer {role_keys[role]}"}
        assert client.post(URL, json={"tasks": [2]}, headers=headers).status_code == status


REFUSED = [
    ({}, 422, "validation", ["/body"]),
    ({"tasks": [], "classes": []}, 422, "validation", ["/body"]),
    ({"tasks": [0]}, 422, "validation", ["/body/tasks/0"]),
    ({"tasks": [2], "erase": True}, 422, "validation", ["/body/erase"]),
    ({"tasks": [1, 9]}, 422, "unknown-content", ["/body/tasks/1"]),
    ({"tasks": [2], "classes": ["dodo"]}, 422, "unknown-content", ["/body/classes/0"]),
    ({"tasks": [1, 2]}, 422, "nothing-would-remain", []),
    ({"tasks": [2], "expected_head_version": 1}, 409, "stale-head", []),
]


def test_refuses_with_a_code(client, two):
    for body, status, code, pointers in REFUSED:
        answer = client.post(URL, json=body)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (status, code), problem
        assert [error["pointer"] for error in problem.get("errors", [])] == pointers
        assert "dodo" not in answer.text


def test_refuses_learners_that_cannot(client, birds, teach):
    assert client.post(URL, json={"tasks": [1]}).json()["code"] == "nothing-learned"
    missing = client.post("/v1/learners/nobody/unlearn", json={"tasks": [1]})
    assert (missing.status_code, missing.json()["code"]) == (404, "learner-not-found")
    body = {"name": "stubborn", "strategy": "finetune", "backbone": "tiny"}
    assert client.post("/v1/learners", json=body).status_code == 201
    refused = client.post("/v1/learners/stubborn/unlearn", json={"tasks": [1]})
    assert (refused.status_code, refused.json()["code"]) == (409, "cannot-unlearn")
    assert "simplecil" in refused.json()["detail"]


def test_a_strategy_that_needs_the_images_says_so_before(client, teach, unlearn):
    config = {"adapt": "none", "projection_width": 64}
    body = {"name": "ridge", "strategy": "ranpac", "backbone": "tiny", "config": config}
    assert client.post("/v1/learners", json=body).status_code == 201
    for labels in (("heron", "egret"), ("crane",), ("stork",)):
        ended = teach(labels, learner="ridge")
    task = unlearn("ridge", tasks=[2])
    assert (task["status"], task["error"]) == ("succeeded", None)
    done = client.get("/v1/learners/ridge/versions/4").json()["metrics"]["unlearning"]
    assert done["exact_scores"] is True
    assert client.delete(f"/v1/tasks/{ended['id']}/samples").status_code == 200
    refused = client.post("/v1/learners/ridge/unlearn", json={"classes": ["stork"]})
    assert (refused.status_code, refused.json()["code"]) == (409, "training-images-gone")


def test_rollback_moves_the_head_when_asked(client, two, teach):
    alias = client.get("/v1/learners/birds/aliases/live")
    stale = client.put(
        "/v1/learners/birds/aliases/live",
        json={"version": 1, "move_head": True},
        headers={"If-Match": '"1"'},
    )
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition-failed")
    moved = client.put(
        "/v1/learners/birds/aliases/live",
        json={"version": 1, "move_head": True},
        headers={"If-Match": alias.headers["ETag"]},
    )
    assert moved.json() == {"name": "live", "version": 1, "head_version": 1}
    superseded = client.get("/v1/tasks?status=superseded").json()["items"]
    assert [(task["index"], task["version"]) for task in superseded] == [(2, 2)]
    history = client.get("/v1/learners/birds/accuracy").json()
    assert (history["tasks"], history["superseded"]) == ([1], [2])
    again = teach(("crane",))
    assert (again["status"], again["version"]) == ("succeeded", 3)
    version = client.get("/v1/learners/birds/versions/3").json()
    assert (version["parent"], version["tasks"]) == (1, [1, 3])
    # Forward to the line that was left, and its task counts again.
    assert serve(client, 2, move_head=True).json()["head_version"] == 2
    wait_until(lambda: version_of(client, two) == 2)
    assert client.get(f"/v1/tasks/{superseded[0]['id']}").json()["status"] == "succeeded"
    assert client.get(f"/v1/tasks/{again['id']}?wait=5").json()["status"] == "superseded"


def test_the_head_stays_while_a_task_waits(client, two):
    client.post("/v1/learners/birds/tasks", files=image_files(("stork",)))
    refused = serve(client, 1, move_head=True)
    assert (refused.status_code, refused.json()["code"]) == (409, "learner-busy")
    assert client.get("/v1/learners/birds/aliases/live").json()["version"] == 2
    # The alias alone may move.
    assert serve(client, 1).json() == {"name": "live", "version": 1, "head_version": 2}
