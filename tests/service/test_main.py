"""The whole service as a process: started, used, killed, started again, stopped."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from sqlalchemy import delete

from registry import keys
from registry.postgres.embedded import EmbeddedPostgres
from registry.tables import KeyRow
from service.database import ensure_admin_key
from service.private_files import ADMIN_KEY_FILE
from tests.service.api import image_files
from tests.service.processes import Served, post_task
from tests.waiting import is_within, wait_until, within


@pytest.fixture
def served(request):
    with tempfile.TemporaryDirectory(prefix="filopodia-serve-") as folder:
        service = Served(Path(folder), **getattr(request, "param", {}))
        service.start()
        yield service
        service.client.close()
        if service.process.poll() is None:
            service.end(signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.chaos
def test_killed_in_the_middle_of_a_task_it_finishes_once_after_a_restart(served):
    body = {"name": "birds", "strategy": "simplecil", "backbone": "tiny"}
    assert served.client.post("/v1/learners", json=body).status_code == 201
    task_id = post_task(served.client, ("heron", "egret"))
    wait_until(lambda: served.client.get(f"/v1/tasks/{task_id}").json()["status"] == "running")
    served.end(signal.SIGKILL)
    served.start()
    ended = served.client.get(f"/v1/tasks/{task_id}?wait=60").json()
    assert (ended["status"], ended["version"]) == ("succeeded", 1)
    files = image_files(("heron",), 1)
    first = served.client.post("/v1/learners/birds/predictions?min_version=1", files=files).json()
    assert served.end(signal.SIGTERM) == 0
    assert not (served.data_dir / "service.json").exists()
    served.start()
    again = served.client.post("/v1/learners/birds/predictions?min_version=1", files=files).json()
    assert again["results"] == first["results"]
    assert len(served.client.get("/v1/learners/birds/versions").json()["items"]) == 1
    log = (served.data_dir / "log").read_text()
    key = (served.data_dir / "admin.key").read_text().strip()
    assert key not in log
    assert "Traceback" not in log


@pytest.mark.slow
@pytest.mark.parametrize("served", [{"FILOPODIA_EMBEDDED_WORKER": "false"}], indirect=True)
def test_slow_and_silent_connections_are_dropped_and_others_served(served):
    address = (served.client.base_url.host, served.client.base_url.port)
    key = (served.data_dir / "admin.key").read_text().strip()
    post = f"POST /v1/learners HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    with within(8):
        for sent in (
            b"",
            b"GET /livez HTTP/1.1\r\n",
            f"{post}Content-Length: 500\r\n\r\n{{".encode(),
        ):
            with socket.create_connection(address) as connection:
                connection.sendall(sent)
                with contextlib.suppress(ConnectionResetError):
                    assert connection.recv(100) == b""
    assert served.client.get("/livez").status_code == 200
    with socket.create_connection(address) as connection:
        connection.sendall(f"{post}Content-Length: 500\r\n\r\n{{".encode())
        time.sleep(0.2)
    assert served.client.get("/livez").status_code == 200
    assert "Traceback" not in (served.data_dir / "log").read_text()
    mode = stat.S_IMODE((served.data_dir / "admin.key").stat().st_mode)
    assert mode == 0o600


@pytest.mark.slow
def test_it_stops_at_once_though_a_client_follows_a_task(served):
    body = {"name": "birds", "strategy": "simplecil", "backbone": "tiny"}
    served.client.post("/v1/learners", json=body)
    task_id = post_task(served.client, ("heron", "egret"))
    with served.client.stream("GET", f"/v1/tasks/{task_id}/events") as stream:
        lines = stream.iter_lines()
        assert next(lines) == "event: queued"
        started = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        for _ in lines:
            pass
    assert served.process.wait() == 0
    assert is_within(time.monotonic() - started, 25)


def test_the_first_admin_key_is_written_down_or_is_the_one_that_lies_there(
    session_factory, tmp_path
):
    ensure_admin_key(session_factory, tmp_path)
    first = (tmp_path / ADMIN_KEY_FILE).read_text().strip()
    ensure_admin_key(session_factory, tmp_path)
    assert (tmp_path / ADMIN_KEY_FILE).read_text().strip() == first
    with session_factory.begin() as session:
        assert keys.is_active(session, first)
        session.execute(delete(KeyRow))
    given = f"fil_{'0' * 12}_{'1' * 64}"
    (tmp_path / ADMIN_KEY_FILE).write_text(f"{given}\n")
    (tmp_path / ADMIN_KEY_FILE).chmod(0o400)
    tmp_path.chmod(0o500)  # as where a cluster's secret is mounted
    try:
        ensure_admin_key(session_factory, tmp_path)
    finally:
        tmp_path.chmod(0o700)
    with session_factory() as session:
        assert keys.verify_key(given, keys.active_keys(session)).role == "admin"


AT_TORCH = """
import importlib.abc, os, signal, sys, threading
from contextlib import suppress
from service import main

class AtTorch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torch":
            sys.meta_path.remove(self)
            print("opening" if "open-database" in {t.name for t in threading.enumerate()} else "", flush=True)
            {act}

assert "torch" not in sys.modules
sys.meta_path.insert(0, AtTorch())
main.main()
"""
"""Serves, and does something where PyTorch is about to be loaded."""


def served_as_far_as_torch(act, folder, **environment):
    program = AT_TORCH.replace("{act}", act)
    return subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"FILOPODIA_DATA_DIR": str(folder), "FILOPODIA_PORT": "0"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "act",
    [
        "os.kill(os.getpid(), signal.SIGINT)",
        "os.kill(os.getpid(), signal.SIGTERM)",
        # Some libraries take whatever ends an import for a package that is not there.
        "with suppress(SystemExit): os.kill(os.getpid(), signal.SIGTERM)",
    ],
    ids=["Ctrl-C", "SIGTERM", "swallowed"],
)
def test_the_database_starts_before_pytorch_is_loaded_and_stops_when_that_is_broken_off(
    postgres, act
):
    folder = postgres.data_dir / f"broken off {len(act)}"
    done = served_as_far_as_torch(act, folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "opening\n"
    with EmbeddedPostgres(folder):  # nobody has it any more
        pass


def test_a_data_directory_in_use_is_told_before_pytorch_is_loaded(postgres):
    done = served_as_far_as_torch("os._exit(3)", postgres.data_dir)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Another service uses the data directory" in done.stderr


def test_a_database_that_does_not_answer_is_told_in_one_sentence(tmp_path):
    url = "postgresql://nobody@127.0.0.1:9/none"
    done = served_as_far_as_torch("pass", tmp_path, DATABASE_URL=url)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["event"] == "not_started"


def test_serving_loads_nothing_that_it_does_not_use():
    program = (
        "import sys, service.running; "
        "unused = {'torch._dynamo', 'torchvision.transforms', 'torchvision.datasets', 'timm.models.resnest', "
        "'timm.data.transforms', 'huggingface_hub.utils', 'celery', 'kombu', 'redis', 'onnx', 'boto3', 'sympy'}; "
        "print(sorted(unused & sys.modules.keys()))"
    )
    printed = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert printed.strip() == "[]"
