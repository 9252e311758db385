"""Data of older releases: what they backed up and exported is brought in, migrated, and answers as it did."""

import gzip
import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, make_url, text

from registry import keys, queue
from registry.blobs import LocalBlobStore
from registry.database import driver_url, make_engine, make_session_factory
from registry.restore import check_backup, restore
from service.app import create_app
from tests.factories import make_image
from tests.service.conftest import image_files
from worker.learn import run_attempt
from worker.settings import WorkerSettings

OLD = Path(__file__).parent / "old_releases/schema_0004"
EXPECTED = json.loads((OLD / "expected.json").read_text(encoding="utf-8"))
CLOSE = 1e-4
"""By how much scores may differ: the processor may be of another kind than the one they were made on."""


class Restored:
    """An installation that holds an old backup, and learning in this process."""

    def __init__(self, url, folder, settings):
        backup = folder / "backup.tar"
        backup.write_bytes(gzip.decompress((OLD / "backup.tar.gz").read_bytes()))
        self.blobs = LocalBlobStore(folder / "blobs")
        self.found = restore(url, self.blobs, check_backup(backup))
        self.engine = make_engine(url, application_name="tests")
        self.sessions = make_session_factory(self.engine)
        with self.sessions.begin() as session:
            key = keys.create_key(session, "tests", "admin")[1]
        app = create_app(settings, self.sessions, self.blobs)
        headers = {"Authorization": f"Bearer {key}"}
        self.client = TestClient(app, headers=headers, raise_server_exceptions=False)
        self.worker = WorkerSettings(data_dir=folder, database_url=url, device="cpu")

    def read(self, path):
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def learned(self, answer):
        """Learn a task that was just posted, and return how it ended."""
        assert answer.status_code == 202, answer.text
        task_id = answer.json()["id"]
        with self.sessions.begin() as session:
            token = queue.claim(session, task_id, "tests", 60).token
        run_attempt(
            task_id,
            token,
            session_factory=self.sessions,
            blobs=self.blobs,
            settings=self.worker,
        )
        return self.read(f"/v1/tasks/{task_id}")

    def asked_then(self):
        """Return the four pictures that the old release was asked about: it has kept them."""
        stored = self.read("/v1/learners/birds/predictions")["items"][0]
        return [
            self.client.get(f"/v1/predictions/{stored['id']}/images/{i}").content for i in range(4)
        ]

    def answers(self, name, version, pictures):
        files = [("images", (f"{i}.png", data, "image/png")) for i, data in enumerate(pictures)]
        query = {"top_k": 100, "store": False, "version": version}
        answer = self.client.post(f"/v1/learners/{name}/predictions", files=files, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()["results"]


@pytest.fixture
def old(postgres, settings, tmp_path):
    engine = create_engine(driver_url(postgres.url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS old_release WITH (FORCE)"))
        connection.execute(text("CREATE DATABASE old_release"))
    engine.dispose()
    url = make_url(postgres.url).set(database="old_release").render_as_string(hide_password=False)
    installation = Restored(url, tmp_path, settings)
    with installation.client:
        yield installation
    installation.engine.dispose()


def require_equal_answers(found, expected):
    assert [answer["label"] for answer in found] == [answer["label"] for answer in expected]
    assert [answer["known"] for answer in found] == [answer["known"] for answer in expected]
    for answer, before in zip(found, expected, strict=True):
        for number in ("score", "novelty"):
            assert answer[number] == pytest.approx(before[number], abs=CLOSE)
        scores = {entry["label"]: entry["score"] for entry in answer["top"]}
        assert scores == pytest.approx(
            {entry["label"]: entry["score"] for entry in before["top"]}, abs=CLOSE
        )


def part_of(item, expected):
    return {key: item[key] for key in expected}


def test_an_old_backup_answers_and_reads_as_it_did(old):
    assert (old.found.rows["learners"], old.found.rows["tasks"], old.found.missing) == (2, 6, [])
    pictures = old.asked_then()
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
    pictures = old.asked_then()
    brought, original = (old.answers(*who, pictures) for who in (("finches", 1), ("birds", 3)))
    require_equal_answers(brought, original)
    assert [answer["label"] for answer in brought[:2]] == ["heron", "egret"]

    task = old.learned(
        old.client.post("/v1/learners/finches/tasks", files=image_files(("crane",), 4))
    )
    assert (task["status"], task["version"]) == ("succeeded", 2), task
