"""A program that is started again whenever it ends, as a container would be, with a record of when it was up."""

import functools
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.waiting import TooLateError, wait_until
from registry.postgres.lifeline import die_with_parent, libc

LOOK_S = 0.05
PAUSE_S = 0.3
"""Between the end of a program and its next start."""
STARTS = threading.Lock()
"""Held by whoever starts a process or lets one go on, and while nothing may."""
NOTICE_S = 0.3
"""How long a death may go unnoticed by us on a busy machine: requests that fail in that time met a dead program."""


@dataclass
class Lifetime:
    """One life of a program, in seconds since 1970."""

    pid: int
    started_at: float
    ready_at: float | None = None
    leaving_at: float | None = None
    """When we killed it or asked it to stop."""
    ended_at: float | None = None
    exit_code: int | None = None

    def is_up(self, since: float, until: float) -> bool:
        """Return whether it was ready all the time, with no sign of an end."""
        ends = [t for t in (self.leaving_at, self.ended_at and self.ended_at - NOTICE_S) if t]
        return (
            self.ready_at is not None
            and self.ready_at <= since
            and until < min(ends, default=until + 1)
        )


class Program:
    """Runs a command until `stop`. Started from a thread of its own: it dies with the thread that made it.

    Args:
        name: For the log and the report.
        command: What to run.
        environment: All of it.
        log: Output of all its lives.
        probe: Says whether it is ready; may wait a second.
        options: Further arguments for `subprocess.Popen`.
        stop_signal: Asks it to stop.
        parent_death_signal: What the kernel sends it when we die.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        environment: dict[str, str],
        log: Path,
        probe: Callable[[], bool],
        options: dict[str, Any] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        parent_death_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.name = name
        self.log = log
        self.lifetimes: list[Lifetime] = []
        self._command = command
        self._environment = environment
        self._probe = probe
        self._options = options or {}
        self._stop_signal = stop_signal
        self._parent_death_signal = parent_death_signal
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start it, and keep it running."""
        libc()
        self._thread.start()

    def stop(self, timeout_s: float = 30.0) -> float | None:
        """Ask it to stop for good. Returns the seconds that took; None if it had to be killed."""
        self._stopping.set()
        asked = time.monotonic()
        if self._thread.is_alive():
            self.signal(self._stop_signal)
            self._thread.join(timeout_s)
        took = time.monotonic() - asked
        if self._thread.is_alive():
            self.signal(signal.SIGKILL)
            self._thread.join(timeout_s)
            return None
        return took

    def signal(self, signal_number: signal.Signals) -> Lifetime | None:
        """Send a signal that ends this life, and note when. None if it is not running."""
        lifetime = self.current
        if lifetime is None:
            return None
        lifetime.leaving_at = time.time()
        with suppress(ProcessLookupError):
            os.kill(lifetime.pid, signal_number)
        return lifetime

    @property
    def current(self) -> Lifetime | None:
        """The life it leads now; None between two."""
        lifetime = self.lifetimes[-1] if self.lifetimes else None
        return lifetime if lifetime is not None and lifetime.ended_at is None else None

    @property
    def is_ready(self) -> bool:
        """Whether it is up, and nobody has told it to end."""
        lifetime = self.current
        return (
            lifetime is not None and lifetime.ready_at is not None and lifetime.leaving_at is None
        )

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until it is ready and return whether it is."""
        with suppress(TooLateError):
            wait_until(lambda: self.is_ready, timeout_s, look_s=LOOK_S)
        return self.is_ready

    def was_up(self, since: float, until: float) -> bool:
        """Return whether one life was ready all the time."""
        return any(lifetime.is_up(since, until) for lifetime in self.lifetimes)

    def _run(self) -> None:
        while not self._stopping.is_set():
            with STARTS, self.log.open("ab") as output:
                process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=self._environment,
                    start_new_session=True,
                    preexec_fn=functools.partial(
                        die_with_parent, self._parent_death_signal, os.getpid()
                    ),
                    **self._options,
                )
            lifetime = Lifetime(process.pid, time.time())
            self.lifetimes.append(lifetime)
            if self._stopping.is_set():
                process.send_signal(self._stop_signal)
            while process.poll() is None:
                if lifetime.ready_at is None and self._probe():
                    lifetime.ready_at = time.time()
                time.sleep(LOOK_S)
            lifetime.exit_code = process.returncode
            lifetime.ended_at = time.time()
            self._stopping.wait(PAUSE_S)
