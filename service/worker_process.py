"""The embedded worker as a child process: started with the service, started again when it dies, stopped with it."""

import os
import signal
import subprocess
import sys
import time
from threading import Event, Thread

import structlog

from service.settings import ServiceSettings

log = structlog.get_logger(__name__)

STOP_S = 25.0
"""The worker stops its learn process and gives the lease back within 20 s."""
STEADY_S = 10.0
"""A worker that lived this long is started again at once; one that died sooner after a growing pause."""
MAX_PAUSE_S = 30.0


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
        # One thread starts every child and lives as long as we do: on Linux a child dies with the thread that made it.
        self._thread = Thread(target=self._run, name="worker-process", daemon=True)

    def start(self) -> None:
        """Start the worker and watch over it."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the worker to stop, and kill it if it does not."""
        self._stopping.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                log.warning("worker_killed")
                process.kill()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        pause_s = 1.0
        while not self._stopping.is_set():
            started = time.monotonic()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker.local"],
                env=self._environment,
                start_new_session=True,  # Ctrl-C in the terminal is for the service, which stops the worker in order
            )
            code = self._process.wait()
            if self._stopping.is_set():
                return
            log.warning("worker_ended", code=code)
            is_steady = time.monotonic() - started > STEADY_S
            pause_s = 1.0 if is_steady else min(2 * pause_s, MAX_PAUSE_S)
            self._stopping.wait(pause_s)
