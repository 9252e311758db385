"""`filopodia serve` as a child process, for the demo: in its own data directory, on a free port."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import httpx

from service.cli.options import Address

STOP_TIMEOUT_S = 60.0
LOG_TAIL_LINES = 25


class ServiceStartError(Exception):
    """The service did not start; the message carries the end of its log."""


class ServiceProcess:
    """Starts the service, waits until it is ready, and stops it again.

    Args:
        data_dir: Its data directory; the log goes there too, to `service.log`.
        environment: Settings on top of this process's environment.
    """

    def __init__(self, data_dir: Path, *, environment: dict[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self.log_path = data_dir / "service.log"
        self.url = f"http://127.0.0.1:{free_port()}"
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id of the service.

        Raises:
            RuntimeError: If it does not run.
        """
        if self._process is None:
            raise RuntimeError("The service has not been started.")
        return self._process.pid

    def start(self) -> None:
        """Start the service and wait until it answers, for as long as it lives: a slow machine takes its time.

        Raises:
            ServiceStartError: If it ends.
        """
        self.data_dir.mkdir(parents=True, exist_ok=True)
        port = self.url.rsplit(":", 1)[1]
        command = [sys.executable, "-m", "service.cli.main", "serve", "--port", port]
        environment = (
            os.environ
            | {"FILOPODIA_HOST": "127.0.0.1", "FILOPODIA_DATA_DIR": str(self.data_dir)}
            | self._environment
        )
        with self.log_path.open("ab") as log:
            # Its own session: Ctrl-C reaches this process only, which then stops the service.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the service in order; kill it if it takes too long."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill the service on the spot, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def wait(self) -> None:
        """Wait until the service ends by itself."""
        if self._process is not None:
            self._process.wait()

    def address(self) -> Address:
        """Return the address with the first admin key."""
        return Address(self.url, (self.data_dir / "admin.key").read_text("utf-8").strip())

    def _wait_until_ready(self) -> None:
        while True:
            if self._process is None or self._process.poll() is not None:
                raise ServiceStartError(f"The service ended while starting.\n{self._log_tail()}")
            try:
                if (
                    httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).status_code
                    == httpx.codes.OK
                ):
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)

    def _log_tail(self) -> str:
        lines = self.log_path.read_text("utf-8", "replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])


def free_port() -> int:
    """Return a port of this machine that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
