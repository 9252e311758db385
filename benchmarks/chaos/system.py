"""What the kernel says about processes (Linux's /proc): whose children they are, and what they run."""

import os
import signal
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


def children_of_all() -> dict[int, list[int]]:
    """Return the living children of every process."""
    children: dict[int, list[int]] = defaultdict(list)
    for pid in _all_pids():
        status = _status(pid)
        if status is not None:
            children[status[1]].append(pid)
    return children


def descendants(pid: int) -> list[int]:
    """Return the living children of a process, their children and so on, parents first."""
    by_parent = children_of_all()
    pids: list[int] = []
    waiting = [pid]
    while waiting:
        children = by_parent.get(waiting.pop(0), [])
        pids += children
        waiting += children
    return pids


def command(pid: int) -> list[str]:
    """Return the arguments a process was started with, or its title if it has set one; empty if it is gone."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except GONE:
        return []


def belonging_to(variable: str, run_id: str, folder: Path) -> dict[int, str]:
    """Return the living processes of one run, with their commands.

    Those that have inherited the run's variable, or work in its folder (PostgreSQL's overwrite their environment).
    Ourselves and our parents, who may have the variable too, are left out.
    """
    mark = f"{variable}={run_id}".encode()
    commands: dict[int, str] = {}
    for pid in _all_pids():
        if pid == os.getpid() or _status(pid) is None:
            continue
        with suppress(*GONE):
            is_marked = mark in (PROC / str(pid) / "environ").read_bytes().split(b"\0")
            if is_marked or (PROC / str(pid) / "cwd").readlink().is_relative_to(folder):
                commands[pid] = " ".join(command(pid))
    return commands


def is_frozen(pid: int) -> bool:
    """Return whether a process stands still, stopped by a signal. One that is gone does too."""
    status = _status(pid)
    return status is None or status[0] == "T"


def send(signal_number: signal.Signals, *pids: int) -> list[int]:
    """Send a signal to processes and return those that were still there."""
    reached = []
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal_number)
            reached.append(pid)
    return reached


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def _status(pid: int) -> tuple[str, int] | None:
    """Return state and parent of a process that runs or is frozen; None for one that is gone or nobody has reaped."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except GONE:
        return None
    return None if fields[0] in "ZX" else (fields[0], int(fields[1]))
