"""Bundles: what leaves one installation answers the same in another, and nothing else gets in."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, make_url, text

from models.admission import MAX_HEADER_BYTES
from registry import keys, queue
from registry.blobs.store import LocalBlobStore
from registry.postgres.database import driver_url, make_engine, make_session_factory, migrate
from registry.upkeep.inspection import inspect_installation
from service.app import create_app
from service.problems import PROBLEMS
from service.settings import ServiceSettings
from tests.factories import make_image
from tests.service.conftest import image_files, wait_until
from worker.learn import run_attempt
from worker.settings import WorkerSettings

TAR = {"Content-Type": "application/x-tar"}
CANARY = "xyzzy-canary"
STRATEGIES = {
    "artsy": ("artsy", {"epochs": 1, "bottleneck": 8}),
    "paper": ("artsy_paper", {"epochs": 1, "synapse_epochs": 1, "bottleneck": 8}),
    "preset": ("artsy", {"preset": "paper", "epochs": 1, "synapse_epochs": 1, "bottleneck": 8}),
    "ease": ("ease", {"epochs": 1, "bottleneck": 8}),
    "simplecil": ("simplecil", {}),
}


class Installation:
    """A service with a database and a blob store of its own, and learning in this process."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.engine = make_engine(url, application_name="tests")
        self.sessions = make_session_factory(self.engine)
        self.blobs = LocalBlobStore(folder / "blobs")
        self.settings = ServiceSettings(
            data_dir=folder,
            device="cpu",
            watch_s=0.05,
            min_free_bytes=0,
            decode_threads=1,
            max_bundle_bytes=24 << 20,
        )
        with self.sessions.begin() as session:
            key = keys.create_key(session, "tests", "admin")[1]
        app = create_app(self.settings, self.sessions, self.blobs)
        headers = {"Authorization": f"Bearer {key}"}
        self.client = TestClient(app, headers=headers, raise_server_exceptions=False)

    def teach(self, learner: str, labels: tuple[str, ...], **query: str) -> int:
        """Let a learner learn made-up images, and return the version."""
        path = f"/v1/learners/{learner}/tasks"
        task_id = self.client.post(path, files=image_files(labels, 4), params=query).json()["id"]
        with self.sessions.begin() as session:
            token = queue.claim(session, task_id, "tests", 60).token
        run_attempt(
            task_id,
            token,
            session_factory=self.sessions,
            blobs=self.blobs,
            settings=WorkerSettings(data_dir=self.folder, database_url=self.url, device="cpu"),
        )
        task = self.client.get(f"/v1/tasks/{task_id}").json()
        assert task["status"] == "succeeded", task
        return task["version"]

    def answers(self, name: str, version: int, labels: tuple[str, ...]) -> list[dict]:
        """Return what a version says about new images of some labels, all of it."""
        files = [("images", (f"{v}.png", make_image(v, 77), "image/png")) for v in labels]
        query = {"version": version, "trace": "full", "store": False, "top_k": 9}
        path = f"/v1/learners/{name}/predictions"
        answer = self.client.post(path, files=files, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()["results"]

    def read(self, path: str) -> dict:
        """Return what is at a path."""
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def here(database_url, tmp_path):
    installation = Installation(database_url, tmp_path / "here")
    with installation.client:
        yield installation
    installation.engine.dispose()


@pytest.fixture
def there(postgres, tmp_path):
    """Another installation: it shares nothing with the first one but the server its database lies on."""
    engine = create_engine(driver_url(postgres.url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS bundles WITH (FORCE)"))
        connection.execute(text("CREATE DATABASE bundles"))
    engine.dispose()
    url = make_url(postgres.url).set(database="bundles").render_as_string(hide_password=False)
    migrate(url)
    installation = Installation(url, tmp_path / "there")
    with installation.client:
        yield installation
    installation.engine.dispose()


def create(on, name, strategy="simplecil", config=None):
    body = {"name": name, "strategy": strategy, "backbone": "tiny", "config": config or {}}
    assert on.client.post("/v1/learners", json=body).status_code == 201


def export(on, name, number):
    answer = on.client.get(f"/v1/learners/{name}/versions/{number}/bundle")
    assert answer.status_code == 200, answer.text
    return answer


def bring(on, data, name=None, **headers):
    query = {} if name is None else {"name": name}
    return on.client.post(
        "/v1/learners/import", content=data, params=query, headers={**TAR, **headers}
    )


def members_of(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}


def write_tar(members, *, sums=None):
    """Write a bundle whose sums are right, or those given."""
    members = {name: data for name, data in members.items() if name != "sums.json"}
    right = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    members["sums.json"] = json.dumps({"members": sums or right}).encode()
    return tar_of([(tarfile.TarInfo(name), data) for name, data in members.items()])


def tar_of(entries):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for info, data in entries:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


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


# Refusals. Each takes the members of a sound bundle and returns the file to send.


def change_json(name, **values):
    """Change members of one JSON file; a dotted path reaches inside."""

    def change(members):
        document = json.loads(members[name])
        for path, value in values.items():
            *parents, last = path.split("__")
            inner = document
            for parent in parents:
                inner = inner[int(parent) if parent.isdigit() else parent]
            inner[last] = value
        return write_tar({**members, name: json.dumps(document).encode()})

    return change


def change_both(head, manifest):
    def change(members):
        changed = members_of(change_json("bundle.json", **head)(members))
        return change_json("manifest.json", **manifest)(changed)

    return change


def with_entry(name, *, type=tarfile.REGTYPE, data=b"", link=""):
    def change(members):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = type, link
        head = [(tarfile.TarInfo("bundle.json"), members["bundle.json"])]
        rest = [(tarfile.TarInfo(n), d) for n, d in members.items() if n != "bundle.json"]
        return tar_of([*head, (info, data), *rest])

    return change


def forge(change, file="shared.safetensors"):
    """Change the bytes of a tensor file; names, manifest and sums are made to fit again."""

    def forged(members):
        manifest = json.loads(members["manifest.json"])
        entry = manifest["files"][file]
        data = change(members[f"files/{entry['sha256']}.safetensors"])
        others = {n: d for n, d in members.items() if entry["sha256"] not in n}
        entry.update(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
        name = f"files/{entry['sha256']}.safetensors"
        return write_tar({**others, "manifest.json": json.dumps(manifest).encode(), name: data})

    return forged


def tensors(change):
    """Change the tensors of a file."""

    def changed(data):
        state = safetensors.torch.load(data)
        change(state)
        return safetensors.torch.save(state)

    return changed


def first_task(change):
    return forge(tensors(change), "task-0001.safetensors")


def header(size, text=b""):
    return lambda data: size.to_bytes(8, "little") + text + data[8 + len(text) :]


def many_tensors(n):
    entry = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    text = "{" + ",".join(f'"a{i}":{entry}' for i in range(n)) + "}"
    return lambda _: len(text).to_bytes(8, "little") + text.encode()


def without_sums(members):
    return tar_of([(tarfile.TarInfo(n), d) for n, d in members.items() if n != "sums.json"])


def twice(members):
    entries = [(tarfile.TarInfo(n), d) for n, d in members.items()]
    return tar_of([*entries[:2], entries[1], *entries[2:]])


def huge_header(members):
    """A member that says it has 8 EiB."""
    info = tarfile.TarInfo("bundle.json")
    info.size = 2**63 - 1
    return info.tobuf(tarfile.GNU_FORMAT) + b"{}"


def pax_bomb(members):
    info = tarfile.TarInfo("bundle.json")
    info.pax_headers = {"comment": "x" * 5_000_000}
    return info.tobuf(tarfile.PAX_FORMAT) + write_tar(members)


def in_the_padding(data):
    """Hide a byte behind `bundle.json`, before the next block."""
    size = int(data[124:135], 8)
    assert size % 512
    return data[: 512 + size] + b"\1" + data[512 + size + 1 :]


ARCHIVES = {
    "nothing": lambda members: b"",
    "text": lambda members: b"not a tar at all " * 100,
    "zeros": lambda members: bytes(4096),
    "cut off": lambda members: write_tar(members)[:3000],
    "no sums": without_sums,
    "wrong sum": lambda members: write_tar(members, sums=dict.fromkeys(members, "0" * 64)),
    "a byte of a tensor": lambda members: write_tar(
        {n: d[:-1] + b"\1" if n.startswith("files/") else d for n, d in members.items()},
    ),
    "no manifest": lambda members: write_tar(
        {n: d for n, d in members.items() if n != "manifest.json"}
    ),
    "head not first": lambda members: write_tar(
        {"manifest.json": members["manifest.json"], **members}
    ),
    "../": with_entry(f"../{CANARY}"),
    "absolute": with_entry(f"/etc/{CANARY}"),
    "folder": with_entry("files/", type=tarfile.DIRTYPE),
    "unknown": with_entry(f"{CANARY}.pkl", data=b"\x80\x04."),
    "symlink": with_entry("manifest.json", type=tarfile.SYMTYPE, link="/etc/passwd"),
    "hard link": with_entry("manifest.json", type=tarfile.LNKTYPE, link="bundle.json"),
    "device": with_entry("manifest.json", type=tarfile.CHRTYPE),
    "fifo": with_entry("manifest.json", type=tarfile.FIFOTYPE),
    "long name": with_entry("files/" + "a" * 3000),
    "duplicate": twice,
    "huge member": huge_header,
    "pax header of 5 MB": pax_bomb,
    "20,000 members": lambda members: tar_of(
        [(tarfile.TarInfo("bundle.json"), b"{}")]
        + [(tarfile.TarInfo(f"files/{i:064x}.safetensors"), b"") for i in range(20_000)]
    ),
    "a byte behind the end": lambda members: write_tar(members) + b"\1",
    "a zero behind the end": lambda members: write_tar(members) + b"\0",
    "a line behind the end": lambda members: write_tar(members) + b"\n",
    "a block behind the end": lambda members: write_tar(members) + b"x" * 512,
    "another tar behind the end": lambda members: write_tar(members) * 2,
    "zeros behind the last record": lambda members: write_tar(members) + bytes(10_240),
    "bytes between end and record": lambda members: write_tar(members)[:-512] + b"x" * 512,
    "half an end": lambda members: write_tar(members).rstrip(b"\0") + bytes(600),
    "bytes behind a member": lambda members: in_the_padding(write_tar(members)),
    "huge JSON": lambda members: write_tar({**members, "manifest.json": b" " * (17 << 20)}),
}
FORMATS = {
    "zip": lambda members: b"PK\x03\x04" + bytes(600),
    "pickle": lambda members: b"\x80\x04\x95" + bytes(600),
    "gzip": lambda members: b"\x1f\x8b\x08" + bytes(600),
    "bare safetensors": lambda members: next(
        data for name, data in members.items() if name.startswith("files/")
    ),
    "bundle of the future": change_json("bundle.json", format_version=2),
    "manifest of the future": change_json("manifest.json", format_version=2),
}
ARTIFACTS = {
    "not JSON": lambda members: write_tar({**members, "bundle.json": b"{"}),
    "NaN in JSON": lambda members: write_tar(
        {**members, "bundle.json": members["bundle.json"].replace(b'"seed": 0', b'"seed": NaN')}
    ),
    "deep JSON": lambda members: write_tar({**members, "manifest.json": b"[" * 100_000}),
    "a list": lambda members: write_tar({**members, "manifest.json": b"[]"}),
    "no format": change_json("bundle.json", format_version=True),
    "format 0": change_json("manifest.json", format_version=0),
    "unknown field": change_json("bundle.json", **{CANARY: 1}),
    "bad name inside": change_json("bundle.json", learner__name=f"../{CANARY}"),
    "label with NUL": change_json("bundle.json", version__classes=["a\0", "b"]),
    "invisible label": change_json("bundle.json", version__classes=["a\u202e", "b"]),
    "hidden text in a label": change_both(
        {
            "version__classes": ["heron", "e\U000e0061\U000e0062"],
            "version__tasks__0__classes": ["heron", "e\U000e0061\U000e0062"],
        },
        {"classes": ["heron", "e\U000e0061\U000e0062"]},
    ),
    "labels that look the same": change_both(
        {
            "version__classes": ["heron", "\uff28eron"],
            "version__tasks__0__classes": ["heron", "\uff28eron"],
        },
        {"classes": ["heron", "\uff28eron"]},
    ),
    "a text turned around in the metrics": change_json(
        "bundle.json", version__metrics={"confusion": {"1": {"heron\u202e": {"egret": 1}}}}
    ),
    "an escape sequence in the versions": change_json(
        "bundle.json", version__code_versions={"torch": "2\x1b[2J"}
    ),
    "a name that is hidden in the manifest": change_json("manifest.json", extra="a\u2066b"),
    "another class": change_json("manifest.json", classes=["heron", CANARY]),
    "a class twice": change_json("manifest.json", classes=["heron", "heron"]),
    "class of no task": change_json("manifest.json", class_tasks=[1, 7]),
    "task 0": change_json("manifest.json", task_indexes=[0]),
    "task 2 ** 31": change_json("manifest.json", task_indexes=[2**31]),
    "another strategy": change_json("manifest.json", strategy="ease"),
    "metrics of another shape": change_json(
        "bundle.json", version__metrics={"confusion": {"a": {"b": 1}}}
    ),
    "more right than there are": change_json("bundle.json", version__accuracy__0__n_correct=99),
    "negative count": change_json("bundle.json", version__accuracy__0__n=-1),
    "files elsewhere": change_json(
        "manifest.json", files={"../x": {"sha256": "0" * 64, "size": 1}}
    ),
    "a file less": change_json("manifest.json", files={}),
    "truncated": forge(lambda data: data[:-1]),
    "trailing": forge(lambda data: data + b"\0"),
    "a header of 100 MB": forge(header(100_000_000)),
    "a header of 2 ** 63": forge(header(2**63)),
    "a header over its limit": forge(
        lambda data: (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + bytes(MAX_HEADER_BYTES + 1)
    ),
    "header not JSON": forge(header(10, b"x" * 10)),
    "empty file": forge(lambda data: b""),
    "200,000 tensors": forge(many_tensors(200_000)),
    "20,000 tensors": forge(many_tensors(20_000)),
    "pickle inside": forge(lambda data: b"\x80\x04\x95" + bytes(100)),
    "wrong name": first_task(lambda state: state.update(extra=torch.zeros(1))),
    "a task's tensor in another file": forge(
        tensors(lambda state: state.update({"tasks.1.extra": torch.zeros(1)}))
    ),
    "a tensor more": first_task(lambda state: state.update({"tasks.1.extra": torch.zeros(1)})),
    "a tensor less": first_task(lambda state: state.clear()),
    "wrong shape": first_task(
        lambda state: state.update({"tasks.1.sums": state["tasks.1.sums"][:1]})
    ),
    "wrong dtype": first_task(
        lambda state: state.update({"tasks.1.sums": state["tasks.1.sums"].to(torch.int64)})
    ),
    "complex dtype": first_task(
        lambda state: state.update({"tasks.1.sums": state["tasks.1.sums"].to(torch.complex64)})
    ),
    "NaN": first_task(lambda state: state["tasks.1.sums"].fill_(float("nan"))),
    "inf": first_task(lambda state: state["tasks.1.sums"][0].fill_(float("inf"))),
    "another ledger": forge(tensors(lambda state: state["ledger"].fill_(9))),
}
MISFITS = {
    "unknown-strategy": change_both({"learner__strategy": CANARY}, {"strategy": CANARY}),
    "invalid-config": change_both({"learner__config": {}}, {"config": {"epochs": "many"}}),
    "unknown-backbone": change_both({"learner__backbone": CANARY}, {"backbone__name": CANARY}),
    "backbone-differs": change_both(
        {"learner__fingerprint": "0" * 64}, {"backbone__fingerprint": "0" * 64}
    ),
    "learner-exists": write_tar,
}
REFUSALS = [
    *(("archive-rejected", what, change) for what, change in ARCHIVES.items()),
    *(("artifact-format-unsupported", what, change) for what, change in FORMATS.items()),
    *(("artifact-invalid", what, change) for what, change in ARTIFACTS.items()),
    *((code, code, change) for code, change in MISFITS.items()),
]


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
    uploads = here.client.app.state.collaborators.decoder.uploads.slots
    uploads.total_tokens = 0
    answer = bring(here, b"")
    assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
