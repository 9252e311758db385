"""A folder that is sent again and again: only what is new is learned, and no image ever changes sides."""

import io
import json
import random
from collections import Counter

import pytest
from PIL import Image
from sqlalchemy import select, update

from models.strategies import catalog
from registry.tables import SampleRow, TaskRow
from tests.factories import make_image, make_pixels
from tests.models.strategies.leaving_out import LeavingOut
from tests.service.api import give, learn_feedback, pending, predict
from tests.waiting import wait_until


def file(label, index, name=None, data=None):
    name = name or f"{label}/{index}.png"
    return ("images", (name, data or make_image(label, index), "image/png"))


def folder(**counts):
    return [file(label, i) for label, n in counts.items() for i in range(n)]


def post(client, files, mode="extend", learner="birds", **options):
    params = {"mode": mode, **options}
    return client.post(f"/v1/learners/{learner}/tasks", files=files, params=params)


def accepted(answer):
    assert answer.status_code == 202, answer.text
    return answer.json()


def code(answer):
    return answer.status_code, answer.json().get("code")


def sides(session_factory):
    """Return on which sides each image is, over all tasks of all learners."""
    found = {}
    with session_factory() as session:
        for blob, split in session.execute(
            select(SampleRow.blob_sha256, SampleRow.split).where(SampleRow.quarantine.is_(None))
        ):
            found.setdefault(blob, []).append(split)
    return found


def splits_of(client, task):
    page = client.get(f"/v1/tasks/{task['id']}/samples?limit=200").json()["items"]
    return {sample["filename"]: sample["split"] for sample in page}


@pytest.fixture
def grown(client, birds, learn):
    """Ten herons and ten egrets, learned."""
    task = accepted(post(client, folder(heron=10, egret=10), "new_classes"))
    learn(task["id"])
    return task


def test_a_folder_that_grew_brings_only_what_is_new(client, grown, learn, session_factory):
    before = sides(session_factory)
    task = accepted(post(client, folder(heron=13, egret=10)))
    assert (task["known"], task["duplicates"], task["splits_kept"]) == (20, 0, 0)
    assert (task["classes"], sum(task["samples"].values())) == (["heron"], 3)
    learn(task["id"])
    ended = client.get(f"/v1/tasks/{task['id']}").json()
    assert (ended["status"], ended["known"]) == ("succeeded", 20)
    after = sides(session_factory)
    assert all(len(found) == 1 for found in after.values())
    assert {blob: after[blob] for blob in before} == before
    assert len(after) == 23


@pytest.mark.parametrize("is_learned", [False, True])
def test_a_folder_without_anything_new_is_said_so(client, birds, learn, is_learned):
    task = accepted(post(client, folder(heron=10, egret=10), "new_classes"))
    if is_learned:
        learn(task["id"])
    again = post(client, [*folder(heron=10, egret=10), file("heron", 3, "heron/copy.png")])
    assert code(again) == (409, "nothing-new")
    assert "20" in again.json()["detail"]
    [error] = again.json()["errors"]
    assert (error["known"], error["duplicates"]) == (20, 1)
    assert again.json()["retryable"] is False
    assert len(client.get("/v1/learners/birds/tasks").json()["items"]) == 1


def test_new_classes_say_how_the_rest_is_learned(client, grown):
    answer = post(client, folder(heron=10, egret=10), "new_classes")
    assert code(answer) == (409, "label-known")
    assert "extend" in answer.json()["detail"]
    assert "new" in answer.json()["detail"]


def test_one_photo_of_a_known_class_is_enough_and_of_a_new_one_is_not(client, grown, learn):
    task = accepted(post(client, [file("heron", 50)]))
    assert task["samples"] == {"train": 1, "eval": 0}
    learn(task["id"])
    assert client.get(f"/v1/tasks/{task['id']}").json()["status"] == "succeeded"
    refused = post(client, [file("heron", 51), file("owl", 0)])
    assert code(refused) == (422, "too-few-images")
    assert [error["label"] for error in refused.json()["errors"]] == ["owl"]


def test_rounds_of_one_photo_each_keep_the_share_held_out(client, grown, learn, session_factory):
    n = 10
    for _ in range(6):
        n += 1
        task = accepted(post(client, folder(heron=n, egret=n)))
        assert task["known"] == 2 * (n - 1)
        assert task["samples"]["train"] >= 1
        learn(task["id"])
        ended = client.get(f"/v1/tasks/{task['id']}").json()
        assert ended["status"] == "succeeded", ended["error"]
    found = sides(session_factory)
    assert len(found) == 32
    assert all(len(each) == 1 for each in found.values())
    assert Counter(each[0] for each in found.values())["eval"] in (3, 4)
    # Every held-out image is measured, those of rounds that trained the other class too.
    history = client.get("/v1/learners/birds/accuracy").json()
    assert sum(n or 0 for n in history["n"][-1]) == Counter(e[0] for e in found.values())["eval"]


def send_some(client, rng):
    """Post some of sixty images, for any split and with any options; return the task, or None if there is none."""
    files, manifest = [], {}
    for label in ("heron", "egret"):
        for i in rng.sample(range(30), rng.randint(1, 8)):
            files.append(file(label, i))
            split = rng.choice(["auto", "auto", "train", "eval"])
            manifest[f"{label}/{i}.png"] = {"label": label, "split": split}
    options = {"eval_fraction": rng.choice([0.1, 0.5]), "seed": rng.randint(0, 9)}
    answer = client.post(
        "/v1/learners/birds/tasks",
        files=files,
        data={"manifest": json.dumps(manifest)},
        params={"mode": "extend", **options},
    )
    if answer.status_code == 202:
        return answer.json()
    assert answer.json()["code"] in ("nothing-new", "too-few-images"), answer.text
    return None


def learn_all(client, learn):
    queued = client.get("/v1/learners/birds/tasks?status=queued&limit=100").json()
    for waiting in reversed(queued["items"]):
        learn(waiting["id"])


def roll_back(client, rng):
    version = client.get("/v1/learners/birds").json()["head_version"]
    body = {"version": rng.randint(1, version), "move_head": True}
    assert client.put("/v1/learners/birds/aliases/live", json=body).is_success


def retry_all(client):
    ended = client.get("/v1/learners/birds/tasks?status=failed&status=cancelled&limit=100").json()
    for task in ended["items"]:
        assert client.post(f"/v1/tasks/{task['id']}/retry").status_code in (202, 409)


@pytest.mark.parametrize("seed", range(4))
def test_no_image_is_ever_on_both_sides(client, birds, learn, session_factory, seed):
    """Random growth with cancelled, failed, retried and rolled back tasks, splits by folder and other seeds."""
    rng = random.Random(seed)
    accepted(post(client, folder(heron=4, egret=4), "new_classes"))
    for _ in range(12):
        task = send_some(client, rng)
        ending = rng.choice(["learn", "cancel", "fail", "wait", "roll back"])
        if task and ending == "cancel":
            client.post(f"/v1/tasks/{task['id']}/cancel")
        if task and ending == "fail":
            with session_factory.begin() as session:
                session.execute(
                    update(TaskRow).where(TaskRow.id == task["id"]).values(status="failed")
                )
        if ending in ("learn", "roll back"):
            learn_all(client, learn)
        if ending == "roll back":
            roll_back(client, rng)
        if rng.random() < 0.5:
            retry_all(client)
    check_sides(session_factory)


def check_sides(session_factory):
    """Check that no image counts twice, and that none that was ever published has two sides."""
    columns = (SampleRow.blob_sha256, SampleRow.split, TaskRow.status)
    with session_factory() as session:
        rows = session.execute(select(*columns).join(TaskRow)).all()
    counting = [row.blob_sha256 for row in rows if row.status in ("queued", "succeeded")]
    assert len(set(counting)) == len(counting)
    seen = {}
    for row in rows:
        if row.status in ("queued", "succeeded", "superseded"):
            assert seen.setdefault(row.blob_sha256, row.split) == row.split


def test_the_split_that_a_folder_names_does_not_move_an_image(client, grown, session_factory):
    """Everything comes again as held out, with two new ones to learn."""
    files = [file("heron", i, f"eval/heron/{i}.png") for i in range(10)]
    files += [file("heron", i, f"train/heron/{i}.png") for i in (20, 21)]
    task = accepted(post(client, files))
    # Nine of the ten were learned.
    assert (task["known"], task["splits_kept"]) == (10, 9)
    assert task["samples"] == {"train": 2, "eval": 0}
    assert all(len(found) == 1 for found in sides(session_factory).values())


def test_after_a_rollback_images_come_back_as_new_on_their_old_side(client, grown, learn):
    task = accepted(post(client, folder(heron=30)))
    learn(task["id"])
    first = splits_of(client, task)
    assert set(first.values()) == {"train", "eval"}
    body = {"version": 1, "move_head": True}
    assert client.put("/v1/learners/birds/aliases/live", json=body).status_code == 200
    again = accepted(post(client, folder(heron=30), seed=5, eval_fraction=0.5))
    assert again["known"] == 10
    assert splits_of(client, again) == first
    swapped = [
        file("heron", int(name[:-4]), f"{'eval' if side == 'train' else 'train'}/heron/{name}")
        for name, side in first.items()
    ]
    client.post(f"/v1/tasks/{again['id']}/cancel")
    third = accepted(post(client, swapped))
    assert third["splits_kept"] == 20
    assert splits_of(client, third) == first


def test_a_cancelled_task_leaves_nothing_known_and_the_same_split(client, birds):
    first = accepted(post(client, folder(heron=20, egret=20), "new_classes"))
    before = splits_of(client, first)
    client.post(f"/v1/tasks/{first['id']}/cancel")
    again = accepted(post(client, folder(heron=20, egret=20), "new_classes"))
    assert (again["known"], splits_of(client, again)) == (0, before)
    # The first would learn all of it a second time now.
    retried = client.post(f"/v1/tasks/{first['id']}/retry")
    assert retried.status_code == 409


def test_an_extension_is_not_retried_once_its_images_came_again(client, grown, learn):
    first = accepted(post(client, folder(heron=14)))
    client.post(f"/v1/tasks/{first['id']}/cancel")
    second = accepted(post(client, folder(heron=12)))
    assert code(client.post(f"/v1/tasks/{first['id']}/retry")) == (409, "task-not-retryable")
    client.post(f"/v1/tasks/{second['id']}/cancel")
    assert client.post(f"/v1/tasks/{first['id']}/retry").status_code == 202


def test_unlearned_images_come_back_as_new(client, grown, learn):
    unlearn = client.post("/v1/learners/birds/unlearn", json={"classes": ["heron"]})
    assert unlearn.status_code == 202
    # What a waiting task takes away counts as gone, so it is learned again after it.
    waiting = accepted(post(client, folder(heron=10, egret=10)))
    assert (waiting["known"], waiting["classes"]) == (10, ["heron"])
    client.post(f"/v1/tasks/{waiting['id']}/cancel")
    learn(unlearn.json()["id"])
    again = accepted(post(client, folder(heron=10, egret=10)))
    assert (again["known"], again["classes"]) == (10, ["heron"])
    assert sum(again["samples"].values()) == 10


def test_images_that_were_deleted_come_back_as_new(client, grown):
    assert client.delete(f"/v1/tasks/{grown['id']}/samples").status_code == 200
    task = accepted(post(client, folder(heron=10)))
    assert (task["known"], sum(task["samples"].values())) == (0, 10)


def test_a_renamed_class_is_known_under_both_names(client, grown):
    renamed = client.patch("/v1/learners/birds/classes/heron", json={"name": "grey heron"})
    assert renamed.status_code == 200
    for label in ("heron", "grey heron"):
        files = [file("heron", i, f"{label}/{i}.png") for i in range(11)]
        task = accepted(post(client, files))
        assert (task["known"], sum(task["samples"].values())) == (10, 1)
        client.post(f"/v1/tasks/{task['id']}/cancel")


def test_another_learner_knows_nothing_of_it(client, grown):
    body = {"name": "waders", "strategy": "simplecil", "backbone": "tiny"}
    assert client.post("/v1/learners", json=body).status_code == 201
    task = accepted(post(client, folder(heron=10, egret=10), learner="waders"))
    assert (task["known"], sum(task["samples"].values())) == (0, 20)


def test_the_same_file_is_known_after_the_decoder_has_changed(client, grown, session_factory):
    """As if an earlier release had made other pixels of the same files."""
    with session_factory.begin() as session:
        for row in session.scalars(select(SampleRow)):
            assert row.source_sha256 is not None
            row.blob_sha256 = row.source_sha256[::-1]
    answer = post(client, folder(heron=10, egret=10))
    assert code(answer) == (409, "nothing-new")
    assert code(post(client, [file("owl", i, data=make_image("heron", i)) for i in range(3)])) == (
        409,
        "label-conflict",
    )


def test_images_from_before_files_were_noted_are_known_by_their_pixels(
    client, grown, session_factory
):
    with session_factory.begin() as session:
        session.execute(update(SampleRow).values(source_sha256=None))
    buffer = io.BytesIO()
    Image.fromarray(make_pixels("heron", 0)).save(buffer, format="BMP")
    bmp = file("heron", 0, "heron/0.bmp", buffer.getvalue())
    assert accepted(post(client, [*folder(heron=11), bmp]))["known"] == 10


def test_blank_images_that_are_there_are_not_kept_again(client, birds, learn):
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (9, 9, 9)).save(buffer, format="PNG")
    blank = file("heron", 0, "heron/blank.png", buffer.getvalue())
    first = accepted(post(client, [*folder(heron=6, egret=6), blank], "new_classes"))
    learn(first["id"])
    task = accepted(post(client, [*folder(heron=7), blank]))
    assert (len(first["quarantined"]), task["quarantined"], task["known"]) == (1, [], 7)
    assert code(post(client, [*folder(heron=7), blank])) == (409, "nothing-new")


def test_feedback_on_what_is_learned_already_is_taken_but_not_learned_again(
    client, taught, learn, session_factory
):
    known, new = make_image("heron", 0), make_image("heron", 70)
    prediction_id, _ = predict(client, known, new)
    for index in range(2):
        assert give(client, prediction_id, "heron", index).status_code == 200
    task = accepted(learn_feedback(client, mode="extend"))
    assert (task["from_feedback"], task["known"], sum(task["samples"].values())) == (2, 1, 1)
    assert pending(client) == []
    assert all(len(found) == 1 for found in sides(session_factory).values())


# Contradictions


def test_an_image_in_two_classes_is_named_with_both_files(client, birds):
    files = [*folder(heron=4, egret=4), file("heron", 2, "egret/wrong.png")]
    answer = post(client, files, "new_classes")
    assert code(answer) == (409, "label-conflict")
    named = {
        (e["pointer"], e["filename"], e["given_label"], e["label"], e["other_filename"])
        for e in answer.json()["errors"]
    }
    assert named == {
        ("/images/2", "2.png", "heron", "egret", "wrong.png"),
        ("/images/8", "wrong.png", "egret", "heron", "2.png"),
    }


def test_skipping_leaves_out_all_copies_of_a_contradiction(client, birds, session_factory):
    files = [*folder(heron=4, egret=4), file("heron", 2, "egret/wrong.png")]
    task = accepted(post(client, files, "new_classes", on_bad_image="skip"))
    assert task["rejected"] == [
        {"index": 2, "filename": "2.png", "problem": "label-conflict"},
        {"index": 8, "filename": "wrong.png", "problem": "label-conflict"},
    ]
    assert sum(task["samples"].values()) == 7


def test_skipping_with_too_little_left_says_so(client, birds):
    files = [*folder(heron=2, egret=4), file("heron", 0, "egret/a.png")]
    answer = post(client, files, "new_classes", on_bad_image="skip")
    assert code(answer) == (422, "too-few-images")
    assert [error["label"] for error in answer.json()["errors"]] == ["heron"]


def test_both_kinds_of_contradiction_are_told_at_once(client, grown):
    files = [file("crane", i) for i in range(4)]
    files += [file("heron", 1, "crane/heron.png"), file("crane", 0, "ibis/crane.png")]
    files += [file("ibis", i) for i in range(3)]
    answer = post(client, files)
    found = {error["filename"]: error["label"] for error in answer.json()["errors"]}
    assert found == {"heron.png": "heron", "0.png": "ibis", "crane.png": "crane"}
    detail = answer.json()["detail"]
    assert "The learner has 1 of the images" in detail
    assert "2 of the images show the same" in detail
    task = accepted(post(client, files, on_bad_image="skip"))
    assert len(task["rejected"]) == 3


# Classes of one picture


def test_a_class_of_one_picture_is_refused(client, birds):
    files = [*folder(egret=5), *(file("heron", 0, f"heron/{i}.png") for i in range(5))]
    answer = post(client, files, "new_classes")
    assert code(answer) == (422, "too-few-images")
    [error] = answer.json()["errors"]
    assert (error["label"], error["detail"]) == (
        "heron",
        "All 5 images of the class are the same picture.",
    )
    assert "2 different" in answer.json()["detail"]


def test_a_copy_on_both_sides_of_a_folder_is_held_out(client, birds):
    files = [file("heron", i, f"train/heron/{i}.png") for i in range(4)]
    files += [file("heron", i, f"eval/heron/copy-{i}.png") for i in (0, 9)]
    task = accepted(post(client, files, "new_classes"))
    assert (task["duplicates"], task["samples"]) == (1, {"train": 3, "eval": 2})


def test_only_held_out_images_are_nothing_to_learn(client, grown):
    answer = post(client, [file("heron", i, f"eval/heron/{i}.png") for i in range(40, 43)])
    assert code(answer) == (422, "layout-unclear")
    manifest = {f"heron/{i}.png": {"label": "heron", "split": "eval"} for i in range(40, 43)}
    answer = client.post(
        "/v1/learners/birds/tasks?mode=extend",
        files=[file("heron", i) for i in range(40, 43)],
        data={"manifest": json.dumps(manifest)},
    )
    assert code(answer) == (422, "too-few-images")


def test_an_old_answer_is_repeated_for_its_key(client, grown):
    headers = {"Idempotency-Key": "nightly-1"}
    url = "/v1/learners/birds/tasks?mode=extend"
    first = client.post(url, files=folder(heron=11), headers=headers)
    again = client.post(url, files=folder(heron=11), headers=headers)
    assert accepted(first)["id"] == accepted(again)["id"]
    # Without the key, it is known by now.
    assert code(client.post(url, files=folder(heron=11))) == (409, "nothing-new")


def test_predictions_go_on_after_growth(client, grown, learn):
    learn(accepted(post(client, folder(heron=12, owl=4)))["id"])
    wait_until(lambda: client.get("/v1/learners/birds/aliases/live").json()["version"] == 2)
    assert [c["label"] for c in client.get("/v1/learners/birds/classes").json()["items"]] == [
        "heron",
        "egret",
        "owl",
    ]


@pytest.fixture
def measures_itself(client, monkeypatch):
    """A learner whose strategy measures itself on the images it learns from."""
    monkeypatch.setattr(catalog, "CATALOG", (*catalog.CATALOG, LeavingOut))
    body = {"name": "owls", "strategy": LeavingOut.name, "backbone": "tiny"}
    assert client.post("/v1/learners", json=body).status_code == 201
    [told] = [
        each
        for each in client.get("/v1/strategies").json()["items"]
        if each["name"] == LeavingOut.name
    ]
    assert told["cross_validates"]


def test_few_images_are_all_learned_from_where_a_strategy_measures_itself(
    client, measures_itself, learn
):
    first = accepted(post(client, folder(heron=10, egret=20), "new_classes", learner="owls"))
    assert first["samples"] == {"train": 28, "eval": 2}
    learn(first["id"])
    # Nine more of one class: 19. Then a tenth, with which it is large enough.
    for n, samples in ((19, {"train": 9, "eval": 0}), (25, {"train": 5, "eval": 1})):
        task = accepted(post(client, folder(heron=n), learner="owls"))
        assert task["samples"] == samples
        learn(task["id"])
    # So it is for feedback.
    prediction, _ = predict(client, make_image("heron", 90), learner="owls")
    give(client, prediction, "heron")
    task = accepted(learn_feedback(client, "owls", mode="extend"))
    assert task["samples"] == {"train": 1, "eval": 0}


def test_who_says_what_is_held_out_is_heard_where_a_strategy_measures_itself(
    client, measures_itself
):
    named = [file("egret", i, f"{'eval' if i < 2 else 'train'}/egret/{i}.png") for i in range(5)]
    task = accepted(post(client, named, "new_classes", learner="owls"))
    assert task["samples"] == {"train": 3, "eval": 2}
    asked = {"eval_fraction": 0.1, "learner": "owls"}
    task = accepted(post(client, folder(heron=10), "new_classes", **asked))
    assert task["samples"] == {"train": 9, "eval": 1}


def test_a_learner_that_cannot_measure_itself_holds_out_as_ever(client, birds):
    task = accepted(post(client, folder(heron=10, egret=4), "new_classes"))
    assert task["samples"] == {"train": 12, "eval": 2}
