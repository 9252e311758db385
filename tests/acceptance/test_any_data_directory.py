"""A whole service in a data directory of an unusual name: it starts, learns, predicts, is backed up and restored."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from service.cli.local.demo_process import ServiceProcess
from service.client import Filopodia
from tests.acceptance.user import SETTINGS, answers, learn

pytestmark = pytest.mark.slow

NAME = 'it\'s "100%" of,\tmy + dätä #1? \\ $HOME/二\nlines '


def filopodia(data_dir: Path, *arguments: str | Path) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "service.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"FILOPODIA_DATA_DIR": str(data_dir), "FILOPODIA_MIN_FREE_BYTES": "0"},
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="filopodia-test-") as folder:
        yield Path(folder)


def test_everything_works_in_a_folder_of_any_name(folder):
    data, archive = folder / NAME, folder / f"{NAME.strip()}.tar"
    archive.parent.mkdir(parents=True, exist_ok=True)
    settings = SETTINGS | {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9"}
    with ServiceProcess(data, environment=settings) as service:
        address = service.address()
        with Filopodia(address.url, address.key) as client:
            client.create_learner("kept", strategy="simplecil", backbone="tiny")
            learn(client, "kept", "heron", "egret")
            before = answers(client, "kept", "heron", "egret", "stork")
        # The command line finds service and key by the data directory, whatever its name.
        assert [found["name"] for found in json.loads(filopodia(data, "learners", "--json"))] == [
            "kept"
        ]
        assert "Backed up" in filopodia(data, "backup", archive)
        checks = json.loads(filopodia(data, "doctor", "--json"))["checks"]
        assert {check["state"] for check in checks} == {"ok"}
    assert not (data / "service.json").exists()

    elsewhere = folder / "a, b" / ("long " * 40)
    assert "Restored" in filopodia(elsewhere, "restore", archive)
    with ServiceProcess(elsewhere, environment=settings) as service:
        address = service.address()
        with Filopodia(address.url, address.key) as client:
            assert answers(client, "kept", "heron", "egret", "stork") == before
            # Its worker finds database and blobs too.
            learn(client, "kept", "stork", "crane")
