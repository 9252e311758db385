"""What a worker's processes are: one that stays small, and children whose threads do not spin."""

import subprocess
import sys

import pytest

from worker.settings import WorkerSettings


@pytest.mark.parametrize(
    "module",
    ["worker.learn", "worker.supervisor", "worker.standby", "worker.local", "worker.celery_app"],
)
def test_what_watches_a_learn_process_never_loads_pytorch_nor_does_the_process_at_once(module):
    code = f"import {module}, sys; print('torch' in sys.modules)"
    printed = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert printed.strip() == "False"


def test_an_attempt_loads_it():
    code = "import worker.attempts, sys; print('torch' in sys.modules)"
    printed = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert printed.strip() == "True"


@pytest.mark.parametrize("chosen", [None, "ACTIVE"])
def test_threads_of_a_learn_process_wait_without_spinning(tmp_path, monkeypatch, chosen):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if chosen:
        monkeypatch.setenv("OMP_WAIT_POLICY", chosen)
    environment = WorkerSettings(data_dir=tmp_path, device="cpu").environment()
    assert environment["OMP_WAIT_POLICY"] == (chosen or "PASSIVE")
