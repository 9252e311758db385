"""Processes that do not outlive the one that started them, even when that is killed with `kill -9`."""

import ctypes
import functools
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""From `linux/prctl.h`."""


def die_with_parent(signal_number: signal.Signals, parent_pid: int) -> None:
    """Have the kernel send this process a signal when its parent dies; at once if it has died already.

    Linux only; elsewhere a no-op, where an orphan is stopped by its lost lease or by the next start. The kernel takes
    the death of the parent's *thread* that started this process for the parent's death: start from one that lives on.

    Args:
        signal_number: What to send.
        parent_pid: The process taken for the parent.
    """
    if not sys.platform.startswith("linux"):
        return
    libc().prctl(PR_SET_PDEATHSIG, int(signal_number))
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal_number)


@functools.cache
def libc() -> ctypes.CDLL:
    """Return the C library. Call once before a fork whose child calls `die_with_parent`: loading there is unsafe.

    So is looking for a function, for which the child would wait if another thread was loading a library at the fork.
    """
    library = ctypes.CDLL(None)
    if sys.platform.startswith("linux"):
        _ = library.prctl  # found once, and kept
    return library
