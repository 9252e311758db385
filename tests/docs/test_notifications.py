"""The receiver of docs/notifications.md lets in what is signed, and nothing else."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry.deliveries import Claimed
from registry.subscriptions import new_secret
from service.notifying.addresses import Allowed
from service.notifying.http_sending import HttpSender
from tests.waiting import wait_until

TEXT = (Path(__file__).parents[2] / "docs" / "notifications.md").read_text("utf-8")
PROGRAM = re.search(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
SECRET = new_secret()
MESSAGE = Claimed(
    id="msg_1",
    subscription_id="sub_1",
    attempt=1,
    event="prediction.made",
    data={"learner": "birds"},
    created_at=datetime.now(UTC),
    target="",
    secret=SECRET,
)


@contextmanager
def receiver():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", PROGRAM[1]]
    environment = {**os.environ, "SECRET": SECRET, "PORT": str(port)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            wait_until(lambda: is_open(port))
            yield process, port
        finally:
            process.terminate()


def is_open(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_the_receiver_lets_in_what_is_signed_and_nothing_else():
    sender = HttpSender(Allowed.parse(["127.0.0.1"]), user_agent="tests")
    with receiver() as (process, port):
        message = replace(MESSAGE, target=f"http://127.0.0.1:{port}/")
        assert sender.send(message).status_code == 204
        assert json.loads(process.stdout.readline())["data"] == {"learner": "birds"}
        assert sender.send(replace(message, secret=new_secret())).status_code == 401
        with pytest.MonkeyPatch.context() as patch:
            late = time.time() - 3600
            patch.setattr("service.notifying.http_sending.time.time", lambda: late)
            assert sender.send(message).status_code == 401


def test_it_is_short():
    lines = [line for line in PROGRAM[1].splitlines() if line.strip()]
    assert len(lines) <= 18
