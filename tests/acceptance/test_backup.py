"""A backup of a service that learns, restored elsewhere, predicts what the service predicted."""

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from registry.blobs.store import LocalBlobStore
from registry.errors import BlobDamagedError
from service.cli.local.demo_process import ServiceProcess
from service.client import Filopodia
from tests.acceptance.user import SETTINGS, answers, images, learn
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

ENDLESS = {"epochs": 1000}
"""Learning goes on until it is cancelled, however long a backup takes on a busy machine."""


def filopodia(*arguments):
    result = subprocess.run(
        [sys.executable, "-m", "service.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"FILOPODIA_MIN_FREE_BYTES": "0"},
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture
def elsewhere():
    with tempfile.TemporaryDirectory(prefix="filopodia-test-") as folder:
        yield Path(folder)


def test_a_backup_while_it_learns_predicts_the_same_elsewhere(service, client, elsewhere):
    client.create_learner("kept", strategy="simplecil", backbone="tiny")
    client.create_learner("busy", strategy="ease", backbone="tiny", config=ENDLESS)
    learn(client, "kept", "heron", "egret")
    before = answers(client, "kept", "heron", "egret", "stork")
    task = client.learn_images("busy", images("crane", "ibis"))
    wait_until(lambda: client.task(task["id"])["status"] != "queued")

    filopodia("backup", elsewhere / "all.tar", "--data", service.data_dir)
    assert client.task(task["id"])["status"] == "running"
    client.cancel_task(task["id"])

    data = elsewhere / "data"
    assert "1 tasks that were being learned" in filopodia(
        "restore", elsewhere / "all.tar", "--data", data
    )
    checks = json.loads(filopodia("doctor", "--json", "--data", data))["checks"]
    assert {check["state"] for check in checks} == {"ok"}
    settings = SETTINGS | {"FILOPODIA_EMBEDDED_WORKER": "false"}
    with ServiceProcess(data, environment=settings) as restored:
        address = restored.address()
        with Filopodia(address.url, address.key) as there:
            assert answers(there, "kept", "heron", "egret", "stork") == before
            waiting = there.task(task["id"])
            assert (waiting["status"], waiting["learner"]) == ("queued", "busy")


def test_a_thousand_flipped_bytes_of_an_artifact_are_all_noticed(service, client, tmp_path):
    client.create_learner("flipped", strategy="simplecil", backbone="tiny")
    learn(client, "flipped", "heron", "egret")
    blobs = LocalBlobStore(service.data_dir / "blobs")
    artifact = {}
    for info in blobs.listing():
        data = blobs.get(info.sha256)
        if not data.startswith(b"\x89PNG"):
            artifact[info.sha256] = data
    assert any(b'"format_version"' in data for data in artifact.values())
    copy = LocalBlobStore(tmp_path)
    copy.put_many(artifact.values())
    drawn = random.Random(0)
    noticed = 0
    for _ in range(1000):
        sha256, data = drawn.choice(list(artifact.items()))
        flipped = bytearray(data)
        flipped[drawn.randrange(len(data))] ^= 1 << drawn.randrange(8)
        path = tmp_path / "sha256" / sha256[:2] / sha256[2:]
        path.write_bytes(flipped)
        try:
            copy.get(sha256)
        except BlobDamagedError:
            noticed += 1
        path.write_bytes(data)
    assert noticed == 1000
