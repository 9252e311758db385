"""How far learning stands back for what somebody waits for: predictions first of all.

A learn process is a session of its own. Where Linux groups processes by session (`autogroup`), its niceness counts only
against itself, and the group has a niceness of its own: both are set. What others wait for, locks in the database and a
checkpoint before a task, it does as if it had not stood back, as far as the system lets it.
"""

import ctypes
import os
import platform
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from worker.settings import WorkerSettings

NICENESS = 10
"""Of a learn process: a tenth of the weight of a program that is not nice."""
GROUP, LOWEST, USUAL = 5, 19, 0
"""Niceness of its session: a third of the weight of another session, a hundredth, and the same. Less than a third would
hold up a task for minutes on a machine that never rests."""
SLICE_S = 0.1
"""What a learn process asks to have at once, the longest there is: whoever wakes up and asks for less interrupts it at
once, where it would wait for 4 ms. Known to Linux 6.12 and later; earlier ones take no notice."""
SET_ATTRIBUTES = {"x86_64": 314, "aarch64": 274}
"""Number of the system call `sched_setattr`, by machine."""
BUSY_S, TRIES = 0.11, 10
"""Whoever is not root is refused to set the niceness of a session within 0.1 s after anybody else has."""
AUTOGROUP = Path("/proc/self/autogroup")
THREADS = Path("/proc/self/task")


def stand_back() -> None:
    """Let what is not nice go first, as every learn process does. Takes little where nobody else wants anything.

    Whatever the system does not allow is left as it is, here and below: learning goes on all the same.
    """
    _ask_for_slice(os.nice(NICENESS))
    _set_group(GROUP, tries=TRIES)


def step_back() -> None:
    """Let this process have only what nobody else wants from now on, as a consolidation that nobody waits for."""
    _set_group(LOWEST, tries=TRIES)
    _schedule(os.SCHED_IDLE)


def sparing_a_core(settings: WorkerSettings) -> WorkerSettings:
    """Return the settings with one thread of torch less than there are cores, unless the operator says how many."""
    if settings.torch_threads is not None:
        return settings
    threads = max(1, len(os.sched_getaffinity(0)) - 1)
    return settings.model_copy(update={"torch_threads": threads})


def step_forward() -> None:
    """Let this process have its share again. Never waits and never fails: it may be called as a signal comes in."""
    _schedule(os.SCHED_OTHER)
    _set_group(USUAL)


@contextmanager
def forward() -> Iterator[None]:
    """Step forward for as long as others wait for this process, and stand back again."""
    _schedule(os.SCHED_OTHER)
    _set_group(USUAL, tries=TRIES)
    try:
        yield
    finally:
        _set_group(GROUP, tries=TRIES)


def _ask_for_slice(niceness: int) -> None:
    """Ask for long slices, for this thread and those it starts. Its niceness has to be said with it."""
    number = SET_ATTRIBUTES.get(platform.machine())
    if number is not None:
        size, nanoseconds = 48, int(SLICE_S * 1e9)
        attributes = struct.pack(
            "=IIQiIQQQ", size, os.SCHED_OTHER, 0, niceness, 0, nanoseconds, 0, 0
        )
        ctypes.CDLL(None).syscall(number, 0, attributes, 0)


def _set_group(niceness: int, *, tries: int = 1) -> None:
    """Set the niceness of this process's session; try again if the system is busy, which takes `BUSY_S` each time."""
    for n in range(tries):
        try:
            group = os.open(AUTOGROUP, os.O_WRONLY)
            try:
                os.write(group, str(niceness).encode())
            finally:
                os.close(group)
        except BlockingIOError:
            if n < tries - 1:
                time.sleep(BUSY_S)
        except OSError:  # there are no groups here, or it is not ours
            return
        else:
            return


def _schedule(policy: int) -> None:
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
