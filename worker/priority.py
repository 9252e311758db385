"""How a consolidation steps back for everything else on the machine: nobody waits for it.

A learn process is a session of its own, and where Linux groups processes by session (`autogroup`) its niceness counts
only against itself. So the group is lowered too. What somebody does wait for, a checkpoint before a task or locks in
the database, it does as if it had not stepped back, as far as the system lets it.
"""

import os
from contextlib import suppress
from pathlib import Path

import structlog
import torch

from worker.settings import WorkerSettings

log = structlog.get_logger()

LOWEST, USUAL = 19, 0
AUTOGROUP = Path("/proc/self/autogroup")
THREADS = Path("/proc/self/task")


def step_back(settings: WorkerSettings) -> None:
    """Let this process have only what nobody else wants from now on, and leave a core to others.

    Whatever the system does not allow is left as it is: learning goes on all the same.
    """
    os.nice(LOWEST)
    _schedule(os.SCHED_IDLE, LOWEST)
    if settings.torch_threads is None:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) - 1))
    log.info("stepped_back", torch_threads=torch.get_num_threads())


def step_forward() -> None:
    """Let this process have its share again. Never waits and never fails: it may be called as a signal comes in."""
    _schedule(os.SCHED_OTHER, USUAL)


def _schedule(policy: int, of_group: int) -> None:
    with suppress(OSError):
        AUTOGROUP.write_text(str(of_group))
    for thread in _threads():
        # It may end meanwhile, or the system may not allow it.
        with suppress(OSError):
            os.sched_setscheduler(thread, policy, os.sched_param(0))


def _threads() -> list[int]:
    """Return the ids of this process's threads: each has a priority of its own, which those it starts inherit."""
    try:
        return [int(thread.name) for thread in THREADS.iterdir()]
    except OSError:
        return [0]
