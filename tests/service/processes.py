"""The whole service as a process of its own."""

import json
import os
import subprocess
import sys

import httpx

from tests.service.api import image_files
from tests.waiting import PACE, wait_until


class Served:
    """A service that a test starts, asks and ends."""

    def __init__(self, data_dir, **environment):
        self.data_dir = data_dir
        self.environment = {"FILOPODIA_REQUEST_DEADLINE_S": "1", **environment}

    def start(self):
        (self.data_dir / "service.json").unlink(missing_ok=True)
        environment = {
            **os.environ,
            "FILOPODIA_DATA_DIR": str(self.data_dir),
            "FILOPODIA_PORT": "0",
        }
        with (self.data_dir / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service.cli.main", "serve"],
                env=environment | self.environment,
                stderr=log,
            )
        wait_until((self.data_dir / "service.json").exists)
        url = json.loads((self.data_dir / "service.json").read_text())["url"]
        key = (self.data_dir / "admin.key").read_text().strip()
        self.client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=PACE.scaled(60)
        )
        wait_until(lambda: self.client.get("/readyz").status_code == 200)

    def end(self, number):
        self.client.close()
        self.process.send_signal(number)
        return self.process.wait()


def post_task(client, labels):
    answer = client.post("/v1/learners/birds/tasks", files=image_files(labels))
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]
