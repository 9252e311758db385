"""What a process may have of the machine, told by a process of its own: it cannot be undone everywhere."""

import json
import os
import subprocess
import sys

import pytest

from worker import priority
from worker.settings import WorkerSettings

CORES = len(os.sched_getaffinity(0))
TELL = """
import ctypes, json, os, sys, threading
from worker import priority

def tell():
    group = priority.AUTOGROUP
    return {
        "nice": sorted({os.getpriority(os.PRIO_PROCESS, thread) for thread in priority._threads()}),
        "policies": sorted({os.sched_getscheduler(thread) for thread in priority._threads()}),
        "group": int(group.read_text().split()[-1]) if group.exists() else None,
    }

if "nobody" in sys.argv:
    os.setresuid(65534, 65534, 65534)
    keep_what_is_in_proc_ours = (4, 1)  # PR_SET_DUMPABLE, as after the start of a program
    ctypes.CDLL(None).prctl(*keep_what_is_in_proc_ours)
told = [tell()]
priority.stand_back()
waiting = threading.Event()
threading.Thread(target=waiting.wait, daemon=True).start()
told.append(tell())
if "step back" in sys.argv:
    priority.step_back()
    told.append(tell())
    priority.step_forward()
else:
    with priority.forward():
        told.append(tell())
told.append(tell())
print(json.dumps(told))
"""


def tell(*arguments):
    found = subprocess.run(
        [sys.executable, "-c", TELL, *arguments],
        capture_output=True,
        text=True,
        start_new_session=True,
        check=True,
    )
    return json.loads(found.stdout.splitlines()[-1])


def groups(told):
    """Return the niceness of the group at each time; nothing where the system has no groups of sessions."""
    return [one["group"] for one in told if one["group"] is not None]


def test_a_learn_process_stands_back_with_its_group_and_comes_forward_for_a_while():
    told = before, back, forward, again = tell()
    assert groups(told) in ([], [0, priority.GROUP, 0, priority.GROUP])
    nicer = min(before["nice"][0] + priority.NICENESS, 19)
    assert back["nice"] == forward["nice"] == again["nice"] == [nicer]
    assert {policy for one in told for policy in one["policies"]} == {os.SCHED_OTHER}


def test_a_consolidation_steps_back_with_all_its_threads_and_forward_again():
    told = _, _, back, forward = tell("step back")
    assert groups(told) in ([], [0, priority.GROUP, priority.LOWEST, 0])
    assert back["policies"] == [os.SCHED_IDLE]
    if os.geteuid() == 0:
        assert forward["policies"] == [os.SCHED_OTHER]


@pytest.mark.parametrize(("asked", "expected"), [(None, max(1, CORES - 1)), (CORES, CORES)])
def test_it_spares_a_core_unless_the_operator_says_how_many_threads(tmp_path, asked, expected):
    settings = WorkerSettings(data_dir=tmp_path, torch_threads=asked)
    assert priority.sparing_a_core(settings).torch_threads == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="the system lets only root become somebody else")
def test_whoever_is_not_root_comes_forward_and_stands_back_too():
    told = tell("nobody")
    assert groups(told) in ([], [0, priority.GROUP, 0, priority.GROUP])
