"""What tests ask the system about processes."""

import os
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def is_alive(pid: int) -> bool:
    """Say whether a process runs: one that nobody has reaped yet does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that still run, or that it has not reaped."""
    found: list[int] = []
    # A thread may end meanwhile. Where there is no such folder, nothing is known.
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in (PROC / str(pid) / "task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                found += map(int, (thread / "children").read_text().split())
    return found


def marked(mark: str) -> list[int]:
    """Return the other living processes that have `NAME=value` in their environment."""
    found = []
    for entry in PROC.glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            is_marked = mark.encode() in (entry / "environ").read_bytes().split(b"\0")
            if is_marked and int(entry.name) != os.getpid() and is_alive(int(entry.name)):
                found.append(int(entry.name))
    return found
