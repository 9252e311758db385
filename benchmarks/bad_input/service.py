"""One real service with a learner to ask, as `filopodia serve` starts it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
from PIL import Image

from benchmarks.bad_input.encoding import encoded
from benchmarks.waiting import wait_until
from registry.statuses import TaskStatus

LEARNER = "birds"


class Service:
    """A service process on a data directory of its own. A context."""

    def __init__(
        self, folder: Path, *, backbone: str, settings: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self._backbone = backbone
        environment = {n: v for n, v in os.environ.items() if not n.startswith("FILOPODIA_")}
        for name in ("DATABASE_URL", "REDIS_URL", "BLOB_URL"):
            environment.pop(name, None)
        (folder / "tmp").mkdir()
        environment |= {
            "FILOPODIA_DATA_DIR": str(folder),
            "FILOPODIA_PORT": "0",
            "FILOPODIA_MIN_FREE_BYTES": "0",
            "TMPDIR": str(folder / "tmp"),
            **(settings or {}),
        }
        self._log = (folder / "log").open("wb")
        command = [sys.executable, "-m", "service.cli.main", "serve"]
        self.process = subprocess.Popen(command, env=environment, stderr=self._log)

    def __enter__(self) -> Self:
        described = self.folder / "service.json"
        wait_until(described.exists)
        self.url: str = json.loads(described.read_text())["url"]
        self.key = (self.folder / "admin.key").read_text().strip()
        headers = {"Authorization": f"Bearer {self.key}"}
        self.client = httpx.Client(base_url=self.url, headers=headers, timeout=60)
        wait_until(lambda: self.client.get("/readyz").status_code == httpx.codes.OK)
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(40)
        self.process.kill()
        self._log.close()

    @property
    def address(self) -> tuple[str, str]:
        """Host and port."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, port

    @cached_property
    def attacker_key(self) -> str:
        """A trainer's key, of somebody else."""
        return new_key(self.client, "trainer", "attacker")

    def teach(self, *labels: str) -> int:
        """Let the learner learn some made-up classes, and return the version."""
        body = {"name": LEARNER, "strategy": "simplecil", "backbone": self._backbone}
        self.client.post("/v1/learners", json=body)
        files = [
            ("images", (f"{label}/{i}.png", picture(label, i)))
            for label in labels
            for i in range(8)
        ]
        answer = self.client.post(f"/v1/learners/{LEARNER}/tasks", files=files)
        answer.raise_for_status()
        path = f"/v1/tasks/{answer.json()['id']}"
        task: dict[str, Any] = {}
        wait_until(
            lambda: bool(
                task.update(self.client.get(f"{path}?wait=30").json()) or task["finished_at"]
            )
        )
        if task["status"] != TaskStatus.SUCCEEDED:
            raise RuntimeError(f"The task ended as {task['status']}.")
        version: int = task["version"]
        path = f"/v1/learners/{LEARNER}/predictions?min_version={version}"
        image = {"Content-Type": "image/png"}
        wait_until(
            lambda: (
                self.client.post(path, content=picture("x", 0), headers=image).status_code
                == httpx.codes.OK
            )
        )
        return version

    def forget_peak(self) -> None:
        """Begin to measure the peak of its memory anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def peak_mib(self) -> float:
        """Return the most memory it had resident since then."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("The kernel does not tell the peak.")


def new_key(client: httpx.Client, role: str, name: str) -> str:
    """Return a key that an admin's client makes for somebody else."""
    answer = client.post("/v1/keys", json={"name": name, "role": role})
    answer.raise_for_status()
    key: str = answer.json()["key"]
    return key


def picture(label: str, index: int) -> bytes:
    """Return a made-up image of a class, 96 pixels wide, as PNG."""
    rng = np.random.default_rng([*label.encode(), index])
    hue = np.random.default_rng([*label.encode()]).integers(0, 200, 3)
    pixels = np.clip(hue + rng.normal(0, 20, (96, 96, 3)), 0, 255).astype(np.uint8)
    return encoded(Image.fromarray(pixels), "PNG")
