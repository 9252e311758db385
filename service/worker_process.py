"""The embedded worker as a child process: started with the service, started again when it dies, stopped with it."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from threading import Event

import structlog

from registry.loops import SteadyThread
from service.settings import ServiceSettings

log = structlog.get_logger(__name__)

STOP_S = 25.0
"""The worker stops its learn process and gives the lease back within 20 s."""
STEADY_S = 10.0
"""A worker that lived this long is started again at once; one that died sooner after a growing pause."""
MAX_PAUSE_S = 30.0
MOST_REASON = 4096
"""Bytes of what a worker says about settings it cannot use; a pipe holds more."""


class WorkerProcess:
    """Runs `python -m worker.local`. Start it in the main thread's process before serving."""

    def __init__(self, settings: ServiceSettings, database_url: str) -> None:
        self._environment = {
            **os.environ,
            "DATABASE_URL": database_url,
            "FILOPODIA_DATA_DIR": str(settings.data_dir.resolve()),
        }
        self._stopping = Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._started = time.monotonic()
        self.restarts = 0
        """How often it was started again because it had died."""
        self.refusal: str | None = None
        """Why it cannot work with its settings: then it is not started again. None otherwise."""
        # One thread starts every child and lives as long as we do: on Linux a child dies with the thread that made it.
        self.thread = SteadyThread("worker-process", self._run)

    @property
    def is_running(self) -> bool:
        """Whether there is a process now."""
        process = self._process
        return process is not None and process.returncode is None

    @property
    def age_s(self) -> float:
        """Seconds since it was started last."""
        return time.monotonic() - self._started

    def start(self) -> None:
        """Start the worker and watch over it."""
        self.thread.start()

    def stop(self) -> None:
        """Ask the worker to stop, and kill it if it does not."""
        self._stopping.set()
        self.thread.end()
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                log.warning("worker_killed")
                process.kill()
        self.thread.join(timeout=5)

    def _run(self) -> None:
        pause_s = 1.0
        while not self._stopping.is_set():
            code, reason = self._run_once()
            if self._stopping.is_set():
                return
            if code == os.EX_CONFIG:
                # Its environment is ours, which stays as it is: another try would end the same.
                self.refusal = reason or "The embedded worker cannot work with its settings."
                log.error("worker_not_started", reason=self.refusal)
                self._stopping.wait()
                return
            log.warning("worker_ended", code=code)
            pause_s = 1.0 if self.age_s > STEADY_S else min(2 * pause_s, MAX_PAUSE_S)
            self._stopping.wait(pause_s)
            self.restarts += 1

    def _run_once(self) -> tuple[int, str]:
        """Run a worker until it ends; return its exit code, and what it said about its settings."""
        reason_fd, says = os.pipe()
        try:
            self._started = time.monotonic()
            command = [sys.executable, "-m", "worker.local", "--refusal-to", str(says)]
            try:
                process = subprocess.Popen(
                    command,
                    env=self._environment,
                    pass_fds=[says],
                    # Ctrl-C in the terminal is for the service, which stops the worker in order.
                    start_new_session=True,
                )
            finally:
                os.close(says)
            self._process = process
            code = process.wait()
            os.set_blocking(reason_fd, False)
            with suppress(BlockingIOError):
                return code, os.read(reason_fd, MOST_REASON).decode("utf-8", "replace")
            return code, ""
        finally:
            os.close(reason_fd)
