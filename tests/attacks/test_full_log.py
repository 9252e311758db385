"""A log that cannot be written, a worker that is killed or wrongly set: the service goes on and says so."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.attacks.neighbour import Neighbour, harmless, require_unharmed
from tests.processes import children, is_alive
from tests.service.api import image_files
from tests.waiting import PACE, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timed(group="attacks and load")]

SETTINGS = {
    "FILOPODIA_PORT": "0",
    "FILOPODIA_MIN_FREE_BYTES": "0",
    "FILOPODIA_TORCH_THREADS": "1",
    "FILOPODIA_POLL_S": "0.1",
}


class Started:
    """A service whose log goes where the test wants it."""

    def __init__(self, data, log, **environment):
        self.data = data
        self.process = subprocess.Popen(
            [sys.executable, "-m", "service.cli.main", "serve"],
            env=os.environ | SETTINGS | {"FILOPODIA_DATA_DIR": str(data)} | environment,
            stdout=log,
            stderr=log,
        )

    def connect(self):
        wait_until((self.data / "service.json").exists, 120)
        self.url = json.loads((self.data / "service.json").read_text())["url"]
        self.key = (self.data / "admin.key").read_text().strip()
        self.client = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.key}"},
            trust_env=False,
            timeout=PACE.scaled(60),
        )
        wait_until(lambda: self.ready["status"] == "ready", 120)

    @property
    def ready(self):
        return self.client.get("/readyz").json()

    def metric(self, name):
        lines = self.client.get("/metrics").text.splitlines()
        return next((float(line.split()[1]) for line in lines if line.split()[0] == name), None)

    def worker(self):
        for pid in children(self.process.pid):
            if b"worker.local" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        return None

    def learn(self, *labels):
        answer = self.client.post("/v1/learners/birds/tasks", files=image_files(labels))
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def end_of(self, task_id):
        def ended():
            task = self.client.get(f"/v1/tasks/{task_id}?wait=5").json()
            return task if task["finished_at"] else None

        return wait_until(ended, 120)["status"]


@contextmanager
def started(log, **environment):
    with tempfile.TemporaryDirectory(prefix="filopodia-log-") as folder:
        service = Started(Path(folder) / "data", log, **environment)
        try:
            service.connect()
            yield service
        finally:
            service.process.send_signal(signal.SIGTERM)
            code = service.process.wait()
        service.client.close()
        assert code == 0


def require_killed_worker_replaced(service):
    """Kill the worker while a task waits, and see it learned by the next one; both endpoints say what happened."""
    body = {"name": "birds", "strategy": "simplecil", "backbone": "tiny"}
    assert service.client.post("/v1/learners", json=body).status_code == 201
    assert service.end_of(service.learn("heron", "egret")) == "succeeded"
    killed = wait_until(service.worker)
    restarts = service.ready["worker_restarts"]
    os.kill(killed, signal.SIGKILL)
    waiting = service.learn("gull", "tern")
    wait_until(lambda: not is_alive(killed) and service.ready["worker_restarts"] == restarts + 1)
    assert service.end_of(waiting) == "succeeded"
    wait_until(lambda: service.ready["worker"] == "up")
    assert service.metric("filopodia_worker_restarts_total") == restarts + 1
    wait_until(lambda: service.metric("filopodia_worker_up") == 1)
    parts = {part["name"]: part["state"] for part in service.ready["parts"]}
    assert set(parts.values()) == {"up"}
    assert parts.keys() >= {"inference", "watcher", "prediction-writer", "collector", "postgres"}
    assert "worker-process" in parts


def test_a_full_disk_under_the_log():
    with Path("/dev/full").open("wb") as full, started(full) as service:
        require_killed_worker_replaced(service)
        lost = service.ready["log_lines_dropped"]
        assert lost > 0
        assert service.metric("filopodia_log_lines_dropped_total") >= lost


@harmless
def test_a_log_that_nobody_reads_until_late():
    reading, writing = os.pipe()
    # So little that the first lines fill it.
    with os.fdopen(writing, "wb", buffering=0) as pipe:
        os.set_blocking(writing, False)
        while pipe.write(b"x" * 4095 + b"\n"):
            pass
        os.set_blocking(writing, True)
        with started(pipe) as service:
            require_killed_worker_replaced(service)
            with Neighbour(service) as neighbour:
                quiet = neighbour.watch(1.0)
                # Each of these is a line of the log.
                with neighbour.watching(2.0) as unread:
                    for _ in range(50):
                        service.client.post("/v1/learners", json={"name": "birds"})
                require_unharmed(unread, quiet, neighbour.watch(1.0))
            pipe.close()
            os.set_blocking(reading, False)
            said = bytearray()

            def has_said():
                with suppress(BlockingIOError):
                    said.extend(os.read(reading, 1 << 20))
                return b"worker_ended" in said

            wait_until(has_said)
        os.close(reading)


def test_a_wrong_setting_of_the_worker_is_said_once_and_ends_nothing_else(tmp_path):
    file = tmp_path / "log"
    with file.open("wb") as log, started(log, FILOPODIA_SLOTS="none") as service:
        wait_until(lambda: service.ready["worker"] == "refused")
        refusal = service.ready["worker_refusal"]
        assert refusal.startswith("FILOPODIA_SLOTS must be a whole number")
        stranger = httpx.get(f"{service.url}/readyz", trust_env=False).json()
        assert (stranger["worker"], stranger["worker_refusal"]) == ("refused", None)
        assert service.ready["status"] == "ready"
        assert service.metric("filopodia_worker_up") == 0
        assert service.worker() is None
        assert service.ready["worker_restarts"] == 0
    told = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["event"] for line in told if "FILOPODIA_SLOTS" in str(line)] == [
        "worker_not_started"
    ]
