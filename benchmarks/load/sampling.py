"""What a process costs under load, by /proc: memory, descriptors, threads, processor; and whether that grows."""

import itertools
import os
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

EVERY_S = 1.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
MOST_PAIRS = 40_000
"""Of samples that a slope is the median of; more are thinned out."""


@dataclass(frozen=True)
class Sample:
    """One look."""

    at: float
    """Seconds since 1970."""
    rss_mib: float
    descriptors: float
    threads: float
    cpu_s: float
    """Used so far."""


def look(pid: int) -> Sample:
    """Look at a process now.

    Raises:
        OSError: If it is gone.
    """
    proc = Path(f"/proc/{pid}")
    status = dict(
        line.split(":", 1) for line in (proc / "status").read_text().splitlines() if ":" in line
    )
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    return Sample(
        time.time(),
        int(status["VmRSS"].split()[0]) / 1024,
        len(os.listdir(proc / "fd")),  # noqa: PTH208 (names only: a thousand of them every second)
        int(status["Threads"]),
        (int(fields[11]) + int(fields[12])) / TICKS_PER_S,
    )


class Sampler:
    """Looks at a process every second, in a thread, until it is stopped or the process is gone. A context."""

    def __init__(self, pid: int) -> None:
        self.samples: list[Sample] = []
        self._pid = pid
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._thread.join()

    def between(self, since: float, until: float) -> list[Sample]:
        """Return the looks of a span of time."""
        return [sample for sample in self.samples if since <= sample.at < until]

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_S):
            try:
                self.samples.append(look(self._pid))
            except OSError:
                return


@dataclass(frozen=True)
class Trend:
    """How one figure went during a load."""

    second_quarter: float
    """Mean."""
    last_quarter: float
    per_minute: float
    """Median slope from the second quarter on: one late spike does not move it."""
    grown: float
    """By how much it grew between the middles of both quarters, by means or by slope, whichever says less."""
    allowed: float

    @property
    def is_flat(self) -> bool:
        """Whether it has not grown by more than is allowed."""
        return self.grown <= self.allowed

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in a report."""
        return {name: round(value, 2) for name, value in asdict(self).items()}


def trend(times: Sequence[float], values: Sequence[float], *, share: float, least: float) -> Trend:
    """Tell whether a figure grew.

    Args:
        times: When it was looked at, in seconds, in order. At least eight.
        values: What it was.
        share: Of its mean in the second quarter that it may grow by.
        least: What it may grow by in any case, in its unit.

    Raises:
        ValueError: If there are too few looks.
    """
    if len(values) < 8:
        raise ValueError("Too few samples to tell a trend.")
    quarter = len(values) // 4
    second = statistics.fmean(values[quarter : 2 * quarter])
    last = statistics.fmean(values[-quarter:])
    slope = _median_slope(times[quarter:], values[quarter:])
    apart = statistics.fmean(times[-quarter:]) - statistics.fmean(times[quarter : 2 * quarter])
    grown = min(last - second, slope * apart)
    return Trend(second, last, 60 * slope, grown, max(least, share * second))


def _median_slope(times: Sequence[float], values: Sequence[float]) -> float:
    step = max(1, int(len(times) ** 2 / 2 / MOST_PAIRS))
    pairs = itertools.islice(
        itertools.combinations(zip(times, values, strict=True), 2), 0, None, step
    )
    return statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs)
