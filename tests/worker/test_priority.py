"""What a process may have of the machine, told by a process of its own: it cannot be undone everywhere."""

import json
import os
import subprocess
import sys

import pytest

TELL = """
import json, os, sys, threading
from pathlib import Path
import torch
from worker import priority
from worker.settings import WorkerSettings

def now():
    group = priority.AUTOGROUP
    return {
        "policies": sorted({os.sched_getscheduler(thread) for thread in priority._threads()}),
        "group": int(group.read_text().split()[-1]) if group.exists() else None,
        "threads": torch.get_num_threads(),
    }

waiting = threading.Event()
threading.Thread(target=waiting.wait, daemon=True).start()
told = [now()]
priority.step_back(WorkerSettings(torch_threads=json.loads(sys.argv[1])))
told.append(now())
priority.step_forward()
told.append(now())
print(json.dumps(told))
"""


def tell(torch_threads):
    found = subprocess.run(
        [sys.executable, "-c", TELL, json.dumps(torch_threads)],
        capture_output=True,
        text=True,
        start_new_session=True,
        check=True,
    )
    return json.loads(found.stdout.splitlines()[-1])


@pytest.mark.parametrize("torch_threads", [None, 1])
def test_it_steps_back_with_all_its_threads_and_forward_again(torch_threads):
    before, back, forward = tell(torch_threads)
    assert back["policies"] == [os.SCHED_IDLE]
    if before["group"] is not None:
        assert (before["group"], back["group"], forward["group"]) == (0, 19, 0)
    cores = len(os.sched_getaffinity(0))
    expected = max(1, cores - 1) if torch_threads is None else before["threads"]
    assert back["threads"] == forward["threads"] == expected
    if os.geteuid() == 0:
        assert forward["policies"] == [os.SCHED_OTHER]
