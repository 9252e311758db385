"""`filopodia serve`: database, worker and HTTP in one process tree.

Nothing is imported here that takes long to load: the database starts while PyTorch is loaded.
"""

import importlib
import signal
import socket
import sys
from types import FrameType
from typing import NoReturn

from service.database import Database
from service.listening import ready_to_serve
from service.settings import ServiceSettings
from service.startup import Startup, on_terminal

STOPPED = "Stopped."
SWITCH_INTERVAL_S = 0.0005
"""How long a thread may keep the interpreter while another waits for it. A prediction crosses several threads, and at
Python's 5 ms a form that is parsed meanwhile holds up each crossing: `python -m benchmarks.bad_input`."""


class Stop:
    """Ends this process by an exception when it is told to, so that everything started is stopped."""

    def __init__(self) -> None:
        self._is_asked_for = False

    def listen(self) -> None:
        """Hear SIGTERM and Ctrl-C from now on. uvicorn takes them over, and raises them again after serving."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._exit)

    def look(self) -> None:
        """End now if it was asked for: what is imported may have taken the exception for one of its own."""
        if self._is_asked_for:
            sys.exit(0)

    def _exit(self, number: int, frame: FrameType | None) -> NoReturn:
        self._is_asked_for = True
        sys.exit(0)


def main() -> None:
    """Read the settings and serve until SIGTERM or Ctrl-C."""
    startup = on_terminal()
    with ready_to_serve() as (settings, listener):
        run(settings, listener, startup)


def run(settings: ServiceSettings, listener: socket.socket, startup: Startup) -> None:
    """Serve until SIGTERM or Ctrl-C; `startup` tells who watches how it goes. In the block of `ready_to_serve`."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        serve(settings, listener, startup)
    except SystemExit:
        startup.say(STOPPED)
        raise


def serve(settings: ServiceSettings, listener: socket.socket, startup: Startup) -> None:
    """Run the service in this process until it is asked to stop.

    Starts PostgreSQL in the data directory unless `DATABASE_URL` names one, brings the schema up to date and makes the
    first admin key, all of that while PyTorch is loaded. Then it starts the worker, and answers HTTP. Everything is
    stopped in the opposite order.

    Raises:
        DataDirBusyError: If another service uses the data directory.
        DatabaseUnavailableError: If the database does not answer.
        SchemaTooNewError: If a later release has migrated it.
    """
    stop = Stop()
    stop.listen()
    with Database(settings) as database:
        with startup.step("Loading PyTorch"):
            running = importlib.import_module("service.running")
        stop.look()
        with startup.step("Waiting for the database"):
            opened = database.wait()
        running.answer(settings, opened, listener, startup)


if __name__ == "__main__":
    main()
