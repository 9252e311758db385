"""What the processes below a service cost, by /proc."""

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.sampling import look

QUIET_CPU_S = 0.05
"""What a process may take within a second that waits."""


@dataclass(frozen=True)
class Cost:
    """What one process took over some time."""

    name: str
    """Its module or program, and the options behind."""
    rss_mib: float
    """At the end."""
    cpu_s: float


def below(pid: int) -> dict[int, str]:
    """Return the processes that a process has started, and those that they have, with their names."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        parents[int(folder.name)] = int(fields[1])
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        children = [child for child, of in parents.items() if of == parent and child not in found]
        found |= {child: _name(child) for child in children}
        waiting += children
    return found


def costs(before: dict[int, float], names: dict[int, str]) -> list[Cost]:
    """Return what processes have taken since they had used so much processor time.

    Args:
        before: Seconds by process, as `used` returns them.
        names: What to call them.
    """
    found = []
    for pid, name in names.items():
        try:
            now = look(pid)
        except (OSError, KeyError):
            continue  # it has ended, or is ending
        cpu_s = round(now.cpu_s - before.get(pid, 0.0), 2)
        found.append(Cost(name, round(now.rss_mib, 1), cpu_s))
    return sorted(found, key=lambda cost: -cost.rss_mib)


def used(names: dict[int, str]) -> dict[int, float]:
    """Return the processor time that each process has used so far, in seconds."""
    seconds = {}
    for pid in names:
        try:
            seconds[pid] = look(pid).cpu_s
        except (OSError, KeyError):
            continue
    return seconds


def is_quiet(root: int) -> bool:
    """Whether nothing below a process takes processor time for a second. Takes that second."""
    names = below(root)
    before = used(names)
    time.sleep(1.0)
    return all(cost.cpu_s <= QUIET_CPU_S for cost in costs(before, names))


def _name(pid: int) -> str:
    """Return what a process runs: `worker.learn --wait`, `postgres: checkpointer`."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    program = words[0].rpartition("/")[2] if words[0].startswith("/") else words[0]
    if program.startswith("python") and "-m" in words:
        words = words[words.index("-m") + 1 :]
    else:
        words[0] = program
    return " ".join(word for word in words if word)[:60]
