"""The main job from outside: learn, predict, learn more, survive restarts and crashes."""

import os
import signal
from pathlib import Path

import httpx
import pytest

from service.client import LabelledImage, ProblemError
from tests.acceptance.user import LONG, answers, images, learn, unseen
from tests.waiting import PACE, wait_until

pytestmark = pytest.mark.slow

QUICK = {"epochs": 1}


def test_learned_classes_are_known_and_stay_known(client):
    client.create_learner("birds", strategy="artsy", backbone="tiny", config=QUICK)
    with pytest.raises(ProblemError) as nothing:
        client.predict("birds", unseen("heron"))
    assert nothing.value.code == "nothing-learned"

    first = learn(client, "birds", "heron", "egret")
    second = learn(client, "birds", "stork", "crane")
    assert (first["version"], second["version"]) == (1, 2)

    version, results = answers(client, "birds", "heron", "egret", "stork", "crane")
    assert version == 2
    assert [result["label"] for result in results] == ["heron", "egret", "stork", "crane"]
    for result in results:
        assert sum(item["score"] for item in result["top"]) == pytest.approx(1, abs=1e-3)
        assert {synapse["task"] for synapse in result["route"]["synapses"]} == {1, 2}

    history = client.accuracy("birds")
    assert history["versions"] == [1, 2]
    assert history["matrix"][0][1] is None
    assert history["last"] is not None


def test_answers_are_the_same_after_a_restart(service, client):
    client.create_learner("restart", strategy="artsy", backbone="tiny", config=QUICK)
    learn(client, "restart", "heron", "egret")
    learn(client, "restart", "stork", "crane")
    before = answers(client, "restart", "heron", "egret", "stork", "crane")
    service.stop()
    service.start()
    assert answers(client, "restart", "heron", "egret", "stork", "crane") == before


@pytest.mark.chaos
def test_a_task_killed_in_the_middle_finishes_once(service, client):
    client.create_learner("crash", strategy="finetune", backbone="tiny", config=LONG)
    task_id = client.learn_images("crash", images("heron", "egret", n_train=40))["id"]
    learn_process = wait_until(lambda: is_training(client, task_id) and process_learning(task_id))

    service.kill()
    os.kill(learn_process, signal.SIGKILL)
    service.start()

    task = client.follow_task(task_id)
    assert (task["status"], task["version"], task["attempt"]) == ("succeeded", 1, 2)
    assert [version["number"] for version in client.versions("crash")] == [1]


@pytest.mark.chaos
def test_a_learn_process_killed_alone_is_started_again(client):
    client.create_learner("child", strategy="finetune", backbone="tiny", config=LONG)
    task_id = client.learn_images("child", images("heron", "egret", n_train=40))["id"]
    learn_process = wait_until(lambda: is_training(client, task_id) and process_learning(task_id))
    os.kill(learn_process, signal.SIGKILL)
    task = client.follow_task(task_id)
    assert (task["status"], task["attempt"]) == ("succeeded", 2)


def test_a_cancelled_task_changes_nothing_and_can_be_retried(client):
    client.create_learner("cancel", strategy="finetune", backbone="tiny", config=LONG)
    task_id = client.learn_images("cancel", images("heron", "egret", n_train=40))["id"]
    wait_until(lambda: is_training(client, task_id))
    client.cancel_task(task_id)
    assert client.follow_task(task_id)["status"] == "cancelled"
    assert client.learner("cancel")["head_version"] == 0
    client.retry_task(task_id)
    assert client.follow_task(task_id)["status"] == "succeeded"


def test_a_bad_image_refuses_the_whole_batch(client):
    client.create_learner("careful", strategy="simplecil", backbone="tiny")
    batch = [*images("heron", "egret"), LabelledImage(b"no image at all", "egret")]
    with pytest.raises(ProblemError) as refused:
        client.learn_images("careful", batch)
    assert refused.value.code == "images-rejected"
    assert len(refused.value.errors) == 1
    assert client.tasks("careful") == []


def test_events_tell_what_happened_in_order(service, client):
    client.create_learner("events", strategy="simplecil", backbone="tiny")
    task = learn(client, "events", "heron", "egret")
    url = f"{service.url}/v1/tasks/{task['id']}/events"
    headers = {
        "Authorization": f"Bearer {service.address().key}",
        "Accept": "text/event-stream",
    }
    kinds = []
    with httpx.stream("GET", url, headers=headers, timeout=PACE.scaled(60)) as stream:
        for line in stream.iter_lines():
            if line.startswith("event:"):
                kinds.append(line.removeprefix("event:").strip())
            if kinds and kinds[-1] == "end":
                break
    assert (kinds[0], kinds[1], kinds[-1]) == ("queued", "started", "end")
    assert kinds.index("evaluated") < kinds.index("published")


def is_training(client, task_id):
    task = client.task(task_id)
    assert task["status"] in {"queued", "running"}, task
    return task["progress"]["phase"] == "training"


def process_learning(task_id):
    """Return the process id that learns a task, or 0."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        if "worker.learn" in command and task_id in command:
            return int(entry.name)
    return 0
