"""How a consolidation steps back for everything else on the machine: nobody waits for it.

A learn process is a session of its own, and where Linux groups processes by session (`autogroup`) its niceness counts
only against itself. So the group is lowered too.
"""

import os
from contextlib import suppress
from pathlib import Path

import structlog
import torch

from worker.settings import WorkerSettings

log = structlog.get_logger()

LOWEST = 19
AUTOGROUP = Path("/proc/self/autogroup")
THREADS = Path("/proc/self/task")


def step_back(settings: WorkerSettings) -> None:
    """Let this process have only what nobody else wants, for as long as it lives, and leave a core to others.

    Whatever the system does not allow is left as it is: learning goes on all the same.
    """
    os.nice(LOWEST)
    with suppress(OSError):
        AUTOGROUP.write_text(str(LOWEST))
    for thread in _threads():
        # It may end meanwhile, or the system may not know of idle processes.
        with suppress(OSError):
            os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
    if settings.torch_threads is None:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) - 1))
    log.info("stepped_back", torch_threads=torch.get_num_threads())


def _threads() -> list[int]:
    """Return the ids of this process's threads: each has a priority of its own, which those it starts inherit."""
    try:
        return [int(thread.name) for thread in THREADS.iterdir()]
    except OSError:
        return [0]
