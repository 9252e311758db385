"""Consolidations over HTTP: asked for, listed, followed as tasks, and told in plain words."""

from dataclasses import replace

import pytest

from registry import consolidations, learners, queue, versions
from registry.schedule import Schedule
from tests.factories import learn_at_once, make_consolidated, make_learner, make_task

URL = "/v1/learners/birds/consolidations"
IDLE, BY_HAND = Schedule.parse("idle", 10), Schedule.parse("by_hand")
RESULT = {
    "adopted": False,
    "reason": "It does not help enough.",
    "tasks": [1],
    "n_images": 12,
    "seconds": 3.5,
    "details": {"gain": -0.02, "standard_error": 0.03},
}


@pytest.fixture
def learned(client, session_factory, blobs):
    """A function that publishes a task of a learner whose strategy consolidates; nothing is queued after it."""
    with session_factory.begin() as session:
        make_learner(session, strategy="artsy")

    def publish(*classes, schedule=BY_HAND):
        with session_factory.begin() as session:
            learn_at_once(session, blobs, classes, schedule=schedule)

    return publish


def take_up(session_factory, task_id):
    with session_factory.begin() as session:
        claimed = queue.claim(session, task_id, "tests", 30)
    assert claimed is not None
    return claimed.token


def learner(client):
    return client.get("/v1/learners/birds").json()


def test_it_is_asked_for_once_and_followed_as_a_task(client, learned):
    learned("heron", "egret")
    answer = client.post(URL, json={"name": "before the fair"})
    assert answer.status_code == 202
    task = answer.json()
    assert answer.headers["Location"] == f"/v1/tasks/{task['id']}"
    assert (task["mode"], task["index"], task["status"]) == ("consolidate", -1, "queued")
    assert (task["name"], task["classes"]) == ("before the fair", [])
    told = task["consolidation"]
    assert (told["by_hand"], told["adopted"], told["details"]) == (True, None, {})
    assert told["standing"] == "waits for a free worker"
    assert client.post(URL, json={}).json()["id"] == task["id"]
    assert client.post(URL).json()["id"] == task["id"], "a body has nothing to say"
    assert client.post(URL, content=b"name=x").json()["code"] == "unsupported-media-type"
    assert client.get(f"/v1/tasks/{task['id']}").json() == task
    cancelled = client.post(f"/v1/tasks/{task['id']}/cancel").json()
    assert (cancelled["status"], cancelled["consolidation"]["standing"]) == ("cancelled",) * 2


def test_they_are_listed_newest_first_and_not_among_the_tasks(client, learned):
    learned("heron", "egret")
    ids = []
    for _ in range(3):
        ids.append(client.post(URL, json={}).json()["id"])
        client.post(f"/v1/tasks/{ids[-1]}/cancel")
    page = client.get(URL, params={"limit": 2}).json()
    assert [task["id"] for task in page["items"]] == [ids[2], ids[1]]
    rest = client.get(URL, params={"cursor": page["next_cursor"]}).json()
    assert [task["id"] for task in rest["items"]] == [ids[0]]
    assert client.get(URL, params={"status": "declined"}).json()["items"] == []
    for url in ("/v1/tasks", "/v1/learners/birds/tasks"):
        assert [task["index"] for task in client.get(url).json()["items"]] == [1]
        asked = client.get(url, params={"mode": "consolidate"}).json()["items"]
        assert [task["id"] for task in asked] == ids[::-1]
        assert client.get(url, params={"mode": "dream"}).status_code == 422


def test_it_is_refused_where_there_is_nothing_to_do_or_nobody_wants_it(
    client, learned, app, settings
):
    nothing = client.post(URL, json={})
    assert (nothing.status_code, nothing.json()["code"]) == (409, "nothing-to-consolidate")
    assert learner(client)["consolidation"] is None
    learned("heron", "egret")
    never = settings.model_copy(update={"consolidate": "never"})
    app.state.context = replace(app.state.context, settings=never)
    off = client.post(URL, json={})
    assert (off.status_code, off.json()["code"]) == (409, "consolidation-off")
    assert "in this installation" in learner(client)["consolidation"]["standing"]
    assert client.post("/v1/learners/fish/consolidations", json={}).status_code == 404
    assert client.post(URL, json={"nmae": "x"}).status_code == 422


def test_a_learner_and_its_versions_say_what_waits_and_why(client, learned):
    learned("heron", "egret")
    version = client.get("/v1/learners/birds/versions/1").json()
    assert (version["stage"], version["unconsolidated"]) == ("learned", [1])
    told = learner(client)["consolidation"]
    assert (told["stage"], told["waiting"], told["task_id"]) == ("learned", [1], None)
    assert told["standing"] == (
        "Task 1 answers already. Its images will shape the features when you ask for a consolidation."
    )
    learned("wren", "owl", schedule=IDLE)
    told = learner(client)["consolidation"]
    assert (told["waiting"], told["status"]) == ([1, 2], "queued")
    assert told["standing"].startswith(
        "Tasks 1 and 2 answer already. Their images will shape the features when it has been quiet for 10 s: in "
    )
    task = client.get(f"/v1/tasks/{told['task_id']}").json()
    assert task["consolidation"]["standing"].startswith("waits for quiet: begins in ")
    # Who asks for it does not wait for quiet.
    client.post(URL, json={})
    assert learner(client)["consolidation"]["standing"] == (
        "Tasks 1 and 2 answer already. Consolidation: waits for a free worker."
    )


def test_what_goes_first_is_said(client, learned, session_factory, blobs):
    learned("heron", "egret")
    client.post(URL, json={})
    with session_factory.begin() as session:
        make_task(session, blobs, classes=["wren"])
    assert learner(client)["consolidation"]["standing"].endswith(
        "Consolidation: waits, since a task of this learner goes first."
    )


def test_one_that_runs_says_how_far_it_is(client, learned, session_factory):
    learned("heron", "egret")
    task_id = client.post(URL, json={}).json()["id"]
    token = take_up(session_factory, task_id)
    progress = {
        "phase": "training",
        "fraction": 0.4,
        "epoch": 2,
        "epochs": 5,
        "eta_seconds": 12.4,
    }
    with session_factory.begin() as session:
        queue.update_progress(session, task_id, token, progress)
    assert learner(client)["consolidation"]["standing"] == (
        "Task 1 answers already. Consolidation: 40%, training, 12 s left."
    )
    task = client.get(f"/v1/tasks/{task_id}").json()
    assert task["consolidation"]["tasks"] == [1]


def test_one_that_was_declined_says_why_with_its_numbers(client, learned, session_factory):
    learned("heron", "egret")
    task_id = client.post(URL, json={}).json()["id"]
    token = take_up(session_factory, task_id)
    with session_factory.begin() as session:
        queue.decline(session, task_id, token, RESULT)
    task = client.get(f"/v1/tasks/{task_id}").json()
    told = task["consolidation"]
    assert (task["status"], task["error"], told["adopted"]) == ("declined", None, False)
    assert (told["images"], told["seconds"], told["details"]["gain"]) == (12, 3.5, -0.02)
    assert told["standing"] == "declined: it does not help enough (gain -0.020 \u00b1 0.030)"
    found = learner(client)["consolidation"]
    assert (found["status"], found["waiting"]) == ("declined", [1])
    assert found["standing"] == (
        f"Task 1 answers already. Consolidation {told['standing']}. What waits is tried again after the next task, or "
        "when you ask."
    )
    # What was learned since was not tried.
    learned("wren")
    assert "declined" not in learner(client)["consolidation"]["standing"]


def test_one_that_was_published_is_a_version_of_its_own(client, learned, session_factory):
    learned("heron", "egret")
    task_id = client.post(URL, json={}).json()["id"]
    token = take_up(session_factory, task_id)
    with session_factory.begin() as session:
        row = consolidations.pending(session, learners.get_learner(session, "birds").id)
        made = make_consolidated(session, row, result={**RESULT, "adopted": True})
        versions.publish(session, task_id, token, made)
    version = client.get("/v1/learners/birds/versions/2").json()
    assert (version["stage"], version["unconsolidated"], version["task"]) == (
        "consolidated",
        [],
        -1,
    )
    task = client.get(f"/v1/tasks/{task_id}").json()
    assert (task["status"], task["version"]) == ("succeeded", 2)
    assert task["consolidation"]["standing"] == "done, version 2 (gain -0.020 \u00b1 0.030)"
    told = learner(client)["consolidation"]
    assert (told["stage"], told["waiting"], told["task_id"]) == ("consolidated", [], task_id)
    assert told["standing"] == "Nothing waits to be consolidated."


def test_a_strategy_that_trains_as_it_learns_says_nothing_of_it(client, taught):
    assert learner(client)["consolidation"] is None
    assert client.get(URL).json()["items"] == []
    refused = client.post(URL, json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing-to-consolidate")
    assert client.get("/v1/learners/birds/versions/1").json()["stage"] == "learned"
