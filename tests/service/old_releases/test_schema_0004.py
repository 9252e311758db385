"""Data of older releases: what they backed up and exported is brought in, migrated, and answers as it did."""

import gzip
import json
from pathlib import Path

import pytest

from tests.factories import make_image
from tests.service.api import image_files
from tests.service.old_releases.restored import require_equal_answers, restored

OLD = Path(__file__).parent / "schema_0004"
EXPECTED = json.loads((OLD / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture
def old(postgres, settings, tmp_path):
    with restored(OLD, postgres, settings, tmp_path) as installation:
        yield installation


def asked_then(old):
    """Return the four pictures that the old release was asked about: it has kept them."""
    stored = old.read("/v1/learners/birds/predictions")["items"][0]
    return [old.client.get(f"/v1/predictions/{stored['id']}/images/{i}").content for i in range(4)]


def part_of(item, expected):
    return {key: item[key] for key in expected}


def test_an_old_backup_answers_and_reads_as_it_did(old):
    assert (old.found.rows["learners"], old.found.rows["tasks"], old.found.missing) == (2, 6, [])
    pictures = asked_then(old)
    for name, before in EXPECTED.items():
        require_equal_answers(old.answers(name, before["version"], pictures), before["answers"])
        for listed in ("classes", "versions", "tasks"):
            items = old.read(f"/v1/learners/{name}/{listed}")["items"]
            read = [part_of(*pair) for pair in zip(items, before[listed], strict=True)]
            assert read == before[listed]
        accuracy = old.read(f"/v1/learners/{name}/accuracy")
        assert part_of(accuracy, before["accuracy"]) == before["accuracy"]
        assert accuracy["version"] == before["version"]


def test_it_goes_on_from_there(old):
    path = "/v1/learners/birds/tasks"
    taught = old.read("/v1/learners/birds/tasks")["items"][-1]
    samples = old.read(f"/v1/tasks/{taught['id']}/samples?limit=100")["items"]
    assert len(samples) == 8
    kept = [
        (
            "images",
            (
                f"{sample['label']}/{sample['filename']}",
                old.client.get(f"/v1/samples/{sample['id']}/image").content,
                "image/png",
            ),
        )
        for sample in samples
    ]
    again = old.client.post(path, files=kept, params={"mode": "extend"})
    assert (again.status_code, again.json()["code"]) == (409, "nothing-new")

    # The feedback that waited, and an old folder with two new pictures of the class that was renamed.
    new = [
        ("images", (f"heron/new-{i}.png", make_image("heron", 70 + i), "image/png")) for i in (0, 1)
    ]
    options = {"mode": "extend", "from_feedback": True, "screening": "off"}
    task = old.learned(old.client.post(path, files=kept + new, params=options))
    assert (task["status"], task["version"], task["known"]) == ("succeeded", 4, 8), task
    assert task["from_feedback"] == 1
    pending = old.read("/v1/learners/birds/feedback?pending=true")["items"]
    # One picture is too few for a new class.
    assert [item["label"] for item in pending] == ["owl"]

    renamed = old.client.patch(
        "/v1/learners/birds/classes", params={"label": "."}, json={"name": "dot"}
    )
    assert (renamed.status_code, renamed.json()["name"]) == (200, "dot"), renamed.text
    unlearned = old.client.post("/v1/learners/birds/unlearn", json={"classes": ["."]})
    assert old.learned(unlearned)["version"] == 5
    assert [item["label"] for item in old.read("/v1/learners/birds/classes")["items"]] == [
        "heron",
        "egret",
        "❤\ufe0f",
    ]

    task = old.learned(
        old.client.post("/v1/learners/fish/tasks", files=image_files(("crane", "stork"), 4))
    )
    assert (task["status"], task["version"]) == ("succeeded", 4), task
    classes = old.read("/v1/learners/fish/versions/4")["classes"]
    assert classes == ["plaice", "eel", "crane", "stork"]


def test_an_old_bundle_answers_as_the_learner_it_was_made_of(old):
    bundle = gzip.decompress((OLD / "birds.bundle.gz").read_bytes())
    answer = old.client.post(
        "/v1/learners/import",
        content=bundle,
        params={"name": "finches"},
        headers={"Content-Type": "application/x-tar"},
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["classes"] == 4
    # A bundle knows nothing of other names and of what is hidden.
    for label, change in (("heron", {"name": None}), ("egret", {"hidden": False})):
        changed = old.client.patch(f"/v1/learners/birds/classes/{label}", json=change)
        assert changed.status_code == 200, changed.text
    pictures = asked_then(old)
    brought, original = (old.answers(*who, pictures) for who in (("finches", 1), ("birds", 3)))
    require_equal_answers(brought, original)
    assert [answer["label"] for answer in brought[:2]] == ["heron", "egret"]

    task = old.learned(
        old.client.post("/v1/learners/finches/tasks", files=image_files(("crane",), 4))
    )
    assert (task["status"], task["version"]) == ("succeeded", 2), task
