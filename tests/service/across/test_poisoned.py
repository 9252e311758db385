import io
import random

import pytest
from PIL import Image

from tests.factories import make_image
from tests.service.api import image_files, version_of
from tests.waiting import wait_until

LABELS = ("heron", "egret", "crane", "ibis")
PNG = {"Content-Type": "image/png"}


def blank(colour=(200, 30, 30)):
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(buffer, format="PNG")
    return buffer.getvalue()


def file(name, data):
    return ("images", (name, data, "image/png"))


def post(client, files, **options):
    return client.post("/v1/learners/birds/tasks", files=files, params=options)


@pytest.fixture
def poisoned():
    """Twenty images of each of four classes, under labels drawn by lot."""
    shown = [label for label in LABELS for _ in range(20)]
    labels = random.Random(0).sample(shown, len(shown))
    return [
        file(f"{label}/{i}.png", make_image(real, 100 + i))
        for i, (label, real) in enumerate(zip(labels, shown, strict=True))
    ]


@pytest.fixture
def held(client, birds, poisoned, learn):
    """A task that was held before it was learned."""
    answer = post(client, poisoned)
    assert answer.status_code == 202, answer.text
    learn(answer.json()["id"])
    return client.get(f"/v1/tasks/{answer.json()['id']}").json()


def test_blank_images_are_kept_but_not_used(client, birds, learn):
    files = [*image_files(("heron", "egret")), file("heron/blank.png", blank())]
    # The same blank image under two labels is no contradiction: it shows neither.
    answer = post(client, [*files, file("egret/b.png", blank())])
    assert answer.status_code == 202, answer.text
    task = answer.json()
    assert task["quarantined"] == [
        {"index": 12, "filename": "blank.png", "reason": "blank"},
        {"index": 13, "filename": "b.png", "reason": "blank"},
    ]
    assert (task["samples"], task["rejected"]) == ({"train": 10, "eval": 2}, [])
    learn(task["id"])
    version = client.get("/v1/learners/birds/versions/1").json()
    assert version["metrics"]["learning"]["n_images"] == 10
    samples = client.get(f"/v1/tasks/{task['id']}/samples?limit=100").json()["items"]
    assert [s["quarantine"] for s in samples if s["filename"] in ("blank.png", "b.png")] == [
        "blank",
        "blank",
    ]


def test_blank_images_do_not_count_for_the_least_number(client, birds):
    files = [file(f"heron/{i}.png", blank((i, 0, 0))) for i in range(6)]
    answer = post(client, [*image_files(("egret",)), *files])
    assert (answer.status_code, answer.json()["code"]) == (422, "too-few-images")
    assert [error["label"] for error in answer.json()["errors"]] == ["heron"]


def test_the_same_image_twice_is_counted_and_learned_once(client, birds):
    files = [*image_files(("heron",)), file("heron/again.png", make_image("heron", 2))]
    task = post(client, files).json()
    assert task["duplicates"] == 1
    assert sum(task["samples"].values()) == 6
    assert post(client, image_files(("egret",))).json()["duplicates"] == 0


@pytest.mark.parametrize("is_learned", [False, True])
def test_an_image_that_is_there_under_another_label_is_refused(client, birds, learn, is_learned):
    first = post(client, image_files(("heron",))).json()
    if is_learned:
        learn(first["id"])
    files = [*image_files(("egret",)), file("egret/heron.png", make_image("heron", 3))]
    answer = post(client, files)
    assert (answer.status_code, answer.json()["code"]) == (409, "label-conflict")
    [error] = answer.json()["errors"]
    assert (error["pointer"], error["filename"], error["label"]) == (
        "/images/6",
        "heron.png",
        "heron",
    )
    answer = post(client, files, on_bad_image="skip")
    assert answer.status_code == 202
    assert answer.json()["rejected"] == [
        {"index": 6, "filename": "heron.png", "problem": "label-conflict"}
    ]
    assert sum(answer.json()["samples"].values()) == 6


def test_too_few_images_without_those_in_conflict_are_refused(client, birds):
    post(client, image_files(("heron",)))
    files = [file(f"egret/{i}.png", make_image("heron", i)) for i in range(6)]
    answer = post(client, files, on_bad_image="skip")
    assert (answer.status_code, answer.json()["code"]) == (422, "too-few-images")


@pytest.mark.parametrize("how", ["cancel", "drop"])
def test_images_that_are_no_longer_there_conflict_with_nothing(client, birds, learn, how):
    first = post(client, image_files(("heron",))).json()
    if how == "cancel":
        client.post(f"/v1/tasks/{first['id']}/cancel")
    else:
        learn(first["id"])
        assert client.delete(f"/v1/tasks/{first['id']}/samples").status_code == 200
    files = [file(f"egret/{i}.png", make_image("heron", i)) for i in range(6)]
    assert post(client, files).status_code == 202


def test_another_learner_may_call_an_image_otherwise(client, birds):
    post(client, image_files(("heron",)))
    body = {"name": "waders", "strategy": "simplecil", "backbone": "tiny"}
    assert client.post("/v1/learners", json=body).status_code == 201
    files = [file(f"wader/{i}.png", make_image("heron", i)) for i in range(6)]
    assert client.post("/v1/learners/waders/tasks", files=files).status_code == 202


def test_a_poisoned_batch_is_held_and_says_why(client, held):
    assert (held["status"], held["version"]) == ("held", None)
    [finding] = held["findings"]
    assert (finding["code"], finding["holds"], finding["classes"]) == ("labels-disagree", True, [])
    assert finding["detail"] in held["error"]["detail"]
    assert client.get("/v1/learners/birds").json()["head_version"] == 0


def test_a_held_batch_is_discarded_in_one_call(client, held, teach):
    answer = client.post(f"/v1/tasks/{held['id']}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
    # Labels and images are free again.
    assert teach(LABELS)["status"] == "succeeded"


def test_a_held_batch_is_learned_all_the_same_when_published(client, held, learn, teach):
    # It holds nobody up meanwhile.
    assert teach(("owl", "wren"))["version"] == 1
    answer = client.post(f"/v1/tasks/{held['id']}/publish")
    assert (answer.status_code, answer.json()["status"]) == (200, "queued")
    learn(held["id"])
    task = client.get(f"/v1/tasks/{held['id']}").json()
    assert (task["status"], task["version"], task["error"]) == ("succeeded", 2, None)
    assert task["findings"] == held["findings"]
    again = client.post(f"/v1/tasks/{held['id']}/publish").json()
    assert again["code"] == "task-not-held"


@pytest.mark.parametrize("how", ["rollback", "unlearn"])
def test_a_poisoned_batch_that_was_learned_is_undone_in_one_call(
    client, taught, poisoned, learn, how
):
    def renamed(part):
        _, (name, data, _) = part
        return file(f"new {name}", data)  # herons and egrets are known

    def ask():
        return [
            client.post(
                f"/v1/learners/{taught}/predictions?top_k=10",
                content=make_image(label, 90),
                headers=PNG,
            ).json()["results"]
            for label in ("heron", "egret", "crane")
        ]

    before = ask()
    task = post(client, [renamed(part) for part in poisoned], screening="warn").json()
    learn(task["id"])
    wait_until(lambda: version_of(client, taught) == 2)
    assert ask() != before
    if how == "rollback":
        body = {"version": 1, "move_head": True}
        answer = client.put(f"/v1/learners/{taught}/aliases/live", json=body)
        assert answer.status_code == 200, answer.text
        wait_until(lambda: version_of(client, taught) == 1)
    else:
        answer = client.post(f"/v1/learners/{taught}/unlearn", json={"tasks": [2]})
        assert answer.status_code == 202, answer.text
        learn(answer.json()["id"])
        wait_until(lambda: version_of(client, taught) == 3)
    assert ask() == before


@pytest.mark.parametrize("screening", ["warn", "off"])
def test_screening_is_chosen_with_the_task(client, birds, poisoned, learn, screening):
    task = post(client, poisoned, screening=screening).json()
    assert task["options"]["screening"] == screening
    learn(task["id"])
    ended = client.get(f"/v1/tasks/{task['id']}").json()
    assert ended["status"] == "succeeded"
    codes = [finding["code"] for finding in ended["findings"]]
    assert codes == (["labels-disagree"] if screening == "warn" else [])
    assert post(client, poisoned, screening="maybe").status_code == 422
