"""Bundles: what leaves one installation answers the same in another, and nothing else gets in."""

import hashlib
import tarfile

import pytest
from sqlalchemy import select

from models.strategies import catalog
from registry.tables import LearnerRow, VersionRow
from registry.upkeep.inspection import inspect_installation
from service.problems import PROBLEMS
from tests.models.strategies.leaving_out import LeavingOut
from tests.service.api import image_files
from tests.service.routes.forged_bundles import (
    CANARY,
    REFUSALS,
    change_json,
    members_of,
    write_tar,
)
from tests.service.routes.installations import bring, create, export
from tests.waiting import wait_until
from tests.worker.consolidating import Consolidating

STRATEGIES = {
    "artsy": ("artsy", {"epochs": 1, "bottleneck": 8}),
    "paper": ("artsy_paper", {"epochs": 1, "synapse_epochs": 1, "bottleneck": 8}),
    "preset": ("artsy", {"preset": "paper", "epochs": 1, "synapse_epochs": 1, "bottleneck": 8}),
    "ease": ("ease", {"epochs": 1, "bottleneck": 8}),
    "simplecil": ("simplecil", {}),
}


def test_another_installation_answers_the_same_and_learns_on(here, there, subtests):
    for spelling, (strategy, config) in STRATEGIES.items():
        with subtests.test(spelling=spelling):
            name = f"{spelling}-birds"
            create(here, name, strategy, config)
            here.teach(name, ("heron", "egret"))
            here.teach(name, ("ibis",), name="curved")
            labels = ("heron", "egret", "ibis", "car")

            bundle = export(here, name, 2).content
            answer = bring(there, bundle)

            assert answer.status_code == 201, answer.text
            assert answer.headers["location"] == f"/v1/learners/{name}"
            learner = answer.json()
            original = here.read(f"/v1/learners/{name}")
            same = ("name", "strategy", "backbone", "config", "classes", "tasks")
            assert {key: learner[key] for key in same} == {key: original[key] for key in same}
            assert (learner["head_version"], learner["live_version"]) == (1, 1)
            assert learner["accuracy"]["last"] == original["accuracy"]["last"]
            assert there.answers(name, 1, labels) == here.answers(name, 2, labels)
            # Out again: the same tensors, byte for byte.
            once_more = members_of(export(there, name, 1).content)
            files = {n for n in members_of(bundle) if n not in ("bundle.json", "sums.json")}
            assert files <= set(once_more)
            assert once_more["manifest.json"] == members_of(bundle)["manifest.json"]

            assert (here.teach(name, ("crane",)), there.teach(name, ("crane",))) == (3, 2)

            versions = [
                here.read(f"/v1/learners/{name}/versions/3"),
                there.read(f"/v1/learners/{name}/versions/2"),
            ]
            # The same manifest: each tensor of what was learned on top is the same to the bit.
            assert versions[0]["artifact_sha256"] == versions[1]["artifact_sha256"]
            assert versions[0]["classes"] == versions[1]["classes"]
            labels = (*labels, "crane")
            assert there.answers(name, 2, labels) == here.answers(name, 3, labels)


def test_what_comes_in_reads_like_a_learner(here, there):
    create(here, "birds")
    here.teach("birds", ("heron", "egret"))
    here.teach("birds", ("ibis",), name="curved")

    answer = bring(there, export(here, "birds", 2).content, "waders")

    assert answer.status_code == 201, answer.text
    assert answer.json()["name"] == "waders"
    tasks = there.read("/v1/learners/waders/tasks")["items"]
    assert [(task["index"], task["name"], task["classes"]) for task in tasks] == [
        (2, "curved", ["ibis"]),
        (1, None, ["heron", "egret"]),
    ]
    assert {(t["status"], t["mode"], t["version"]) for t in tasks} == {("succeeded", "import", 1)}
    classes = there.read("/v1/learners/waders/classes")["items"]
    assert {entry["label"]: entry["task"] for entry in classes} == {
        "heron": 1,
        "egret": 1,
        "ibis": 2,
    }
    history, original = (
        there.read("/v1/learners/waders/accuracy"),
        here.read("/v1/learners/birds/accuracy"),
    )
    assert (history["tasks"], history["versions"]) == ([1, 2], [1])
    assert history["matrix"] == [original["matrix"][1]]
    assert history["forgetting"] is None
    version = there.read("/v1/learners/waders/versions/1")
    origin = version["metrics"]["imported"]
    assert (origin["learner"], origin["version"]) == ("birds", 2)
    assert {(cell["version"], cell["task"]) for cell in origin["accuracy"]} == {
        (1, 1),
        (2, 1),
        (2, 2),
    }
    assert there.client.get("/v1/learners/waders/versions/1/confusion").status_code == 200
    assert there.client.get(f"/v1/tasks/{tasks[0]['id']}/events").text.count("event: end") == 1
    # A label is known, and the next task goes on counting.
    known = there.client.post("/v1/learners/waders/tasks", files=image_files(("ibis",)))
    assert known.json()["code"] == "label-known"
    there.teach("waders", ("crane",))
    assert there.read("/v1/learners/waders/accuracy")["tasks"] == [1, 2, 3]
    checks = inspect_installation(
        there.url, there.blobs, data_dir=there.folder, min_free_bytes=0, redis_url=None
    )
    assert [check for check in checks if check.state == "fail"] == []


def test_what_was_left_out_in_turn_comes_along(here, there, monkeypatch):
    monkeypatch.setattr(catalog, "CATALOG", (*catalog.CATALOG, LeavingOut))
    for name, strategy in (("birds", LeavingOut.name), ("plain", "simplecil")):
        create(here, name, strategy)
        here.teach(name, ("heron", "egret"))
    bundle = export(here, "birds", 1).content

    answer = bring(there, bundle)
    assert answer.status_code == 201, answer.text

    histories = [side.read("/v1/learners/birds/accuracy") for side in (here, there)]
    assert histories[0]["matrix"] == histories[1]["matrix"]
    assert histories[0]["n"] == histories[1]["n"]
    metrics = [side.read("/v1/learners/birds/versions/1")["metrics"] for side in (here, there)]
    assert metrics[0]["cross_validated"] == metrics[1]["cross_validated"]
    assert set(metrics[0]["cross_validated"]["1"]) == {"heron", "egret"}
    assert b'"n_cross_validated": ' in members_of(bundle)["bundle.json"]
    # An earlier release would refuse a field that it does not know.
    assert b"n_cross_validated" not in members_of(export(here, "plain", 1).content)["bundle.json"]


def test_the_stage_comes_along(here, there, monkeypatch):
    monkeypatch.setattr(catalog, "CATALOG", (*catalog.CATALOG, Consolidating))
    for name, strategy in (("birds", Consolidating.name), ("plain", "simplecil")):
        create(here, name, strategy)
        here.teach(name, ("heron", "egret"))
    assert here.consolidate("birds") == 2
    here.teach("birds", ("ibis",))
    bundles = {n: export(here, "birds", n).content for n in (1, 2, 3)}

    for number, data in bundles.items():
        assert bring(there, data, f"birds-{number}").status_code == 201

    with there.sessions() as session:
        found = session.execute(
            select(VersionRow.stage, VersionRow.unconsolidated)
            .join(LearnerRow)
            .order_by(LearnerRow.name)
        ).all()
    assert [tuple(row) for row in found] == [
        ("learned", [1]),
        ("consolidated", []),
        ("learned", [2]),
    ]
    there.teach("birds-2", ("crane",))
    # What waits came without its images, so only what was learned here is left to be consolidated.
    there.teach("birds-1", ("crane",))
    assert there.consolidate("birds-1") == 3
    metrics = there.read("/v1/learners/birds-1/versions/3")["metrics"]
    assert metrics["consolidation"]["tasks"] == [2]
    # An earlier release would refuse a field that it does not know, so what follows by itself is left unsaid.
    head = members_of(export(here, "plain", 1).content)["bundle.json"]
    assert b"stage" not in head
    assert b"unconsolidated" not in head
    forged = change_json("bundle.json", version__unconsolidated=[7])(members_of(bundles[1]))
    assert bring(there, forged, "forged").json()["code"] == "artifact-invalid"


def test_a_bundle_that_says_nothing_of_its_stage_has_the_one_that_follows(here, there, monkeypatch):
    monkeypatch.setattr(catalog, "CATALOG", (*catalog.CATALOG, Consolidating))
    create(here, "birds", Consolidating.name)
    here.teach("birds", ("heron", "egret"))
    # As earlier releases exported what they had trained within the task.
    head = {"version__unconsolidated": [], "version__stage": None}
    data = change_json("bundle.json", **head)(members_of(export(here, "birds", 1).content))
    assert bring(there, data).status_code == 201
    with there.sessions() as session:
        assert session.scalars(select(VersionRow.stage)).one() == "consolidated"


def test_the_file(here, role_keys):
    create(here, "birds")
    here.teach("birds", ("heron", "egret"))

    answer = export(here, "birds", 1)

    assert answer.headers["content-type"] == "application/x-tar"
    assert answer.headers["content-disposition"] == 'attachment; filename="birds-v1.tar"'
    assert int(answer.headers["content-length"]) == len(answer.content)
    members = members_of(answer.content)
    assert list(members)[:2] == ["bundle.json", "manifest.json"]
    assert list(members)[-1] == "sums.json"
    assert all(
        hashlib.sha256(data).hexdigest() == name.split("/")[1].split(".")[0]
        for name, data in members.items()
        if name.startswith("files/")
    )
    assert export(here, "birds", 1).content == answer.content
    path, etag = "/v1/learners/birds/versions/1/bundle", answer.headers["etag"]
    assert here.client.get(path, headers={"If-None-Match": etag}).status_code == 304
    key = {"Authorization": f"Bearer {role_keys['predictor']}"}
    assert here.client.get(path, headers=key).json()["code"] == "forbidden"
    assert here.client.post("/v1/learners/import", headers=key).json()["code"] == "forbidden"
    missing = "/v1/learners/birds/versions/9/bundle"
    assert here.client.get(missing).json()["code"] == "version-not-found"
    for name in members:
        if name.startswith("files/"):
            here.blobs.delete(name.split("/")[1].split(".")[0])
    assert here.client.get(path).json()["code"] == "version-damaged"


def test_the_same_key_makes_one_learner(here):
    create(here, "birds")
    here.teach("birds", ("heron", "egret"))
    bundle = export(here, "birds", 1).content

    first = bring(here, bundle, "copy", **{"Idempotency-Key": "k1"})
    again = bring(here, bundle, "copy", **{"Idempotency-Key": "k1"})
    other = bring(here, bundle, "copy", **{"Idempotency-Key": "k2"})

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()
    assert (other.status_code, other.json()["code"]) == (409, "learner-exists")
    wait_until(lambda: here.answers("copy", 1, ("heron",)) == here.answers("birds", 1, ("heron",)))


def test_everything_else_is_refused_and_leaves_nothing(here, subtests):
    create(here, "birds")
    here.teach("birds", ("heron", "egret"))
    members = members_of(export(here, "birds", 1).content)
    stored = {info.sha256 for info in here.blobs.listing()}

    for code, what, change in REFUSALS:
        with subtests.test(what=what):
            answer = bring(here, change(members), None if code == "learner-exists" else "forged")
            assert answer.status_code == PROBLEMS[code].status, answer.text
            problem = answer.json()
            assert problem["code"] == code, problem
            assert not any(leak in answer.text for leak in (CANARY, "Traceback", "/etc", "site-"))

    assert [learner["name"] for learner in here.read("/v1/learners")["items"]] == ["birds"]
    assert {info.sha256 for info in here.blobs.listing()} == stored
    # The table's own bundle is sound: it is the changes that are refused.
    assert bring(here, write_tar(members), "copy").status_code == 201


@pytest.mark.parametrize("blocks", [0, 1, 10, 18])
def test_a_bundle_may_end_as_tar_programs_end_it(here, blocks):
    create(here, "birds")
    here.teach("birds", ("heron", "egret"))
    bundle = export(here, "birds", 1).content
    assert bundle.endswith(bytes(1024))
    assert bring(here, bundle + bytes(512 * blocks), "copy").status_code == 201


def test_other_bodies_are_refused_before_they_are_read(here):
    for kind, code in [
        ("application/zip", "artifact-format-unsupported"),
        ("application/octet-stream", "artifact-format-unsupported"),
        ("application/x-pickle", "artifact-format-unsupported"),
        ("application/json", "unsupported-media-type"),
        ("", "unsupported-media-type"),
    ]:
        answer = bring(here, b"PK\x03\x04", **{"Content-Type": kind})
        assert (answer.status_code, answer.json()["code"]) == (415, code)
    large = here.settings.max_bundle_bytes + 1
    answer = bring(here, b"", **{"Content-Length": str(large)})
    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")
    assert bring(here, b"", "Not A Name").json()["code"] == "validation"


def test_a_body_without_length_stops_at_the_limit(here):
    sent = []

    def endless():
        while len(sent) < 100:
            sent.append(1)
            yield tarfile.TarInfo("bundle.json").tobuf() + bytes(1 << 20)

    answer = bring(here, endless())

    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")


def test_without_a_free_slot_nothing_is_read(here):
    uploads = here.client.app.state.context.decoder.uploads.slots
    uploads.total_tokens = 0
    answer = bring(here, b"")
    assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
