"""`filopodia serve`: database, worker and HTTP in one process tree."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import structlog

from registry import idempotency, keys, prediction_jobs
from registry.blobs.opening import open_blob_store
from registry.loops import SteadyThread
from registry.postgres import schema
from registry.postgres.database import Sessions, make_engine, make_session_factory
from registry.postgres.embedded import EmbeddedPostgres
from service.app import create_app
from service.dependencies import AppContext
from service.http.connections import Connections
from service.listening import ready_to_serve, url_of
from service.private_files import ADMIN_KEY_FILE, write_private
from service.server import Server, connection_limit, server_config
from service.settings import ServiceSettings
from service.startup import Startup, on_terminal
from service.worker_process import WorkerProcess

log = structlog.get_logger(__name__)

SERVICE_FILE = "service.json"
STOPPED = "Stopped."
STATEMENT_TIMEOUT_S = 5.0
SWITCH_INTERVAL_S = 0.0005
"""How long a thread may keep the interpreter while another waits for it. A prediction crosses several threads, and at
Python's 5 ms a form that is parsed meanwhile holds up each crossing: `python -m benchmarks.bad_input`."""


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

    Starts PostgreSQL in the data directory unless `DATABASE_URL` names one, brings the schema up to date, makes the
    first admin key, starts the worker, and answers HTTP. Everything is stopped in the opposite order.

    Raises:
        DataDirBusyError: If another service uses the data directory.
        DatabaseUnavailableError: If the database does not answer.
        SchemaTooNewError: If a later release has migrated it.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    with ExitStack() as stack:
        with startup.step("Starting the database"):
            url, session_factory, guard = _open_database(settings, stack)
        worker = WorkerProcess(settings, url) if settings.starts_worker else None
        if worker is not None:
            worker.start()
            stack.callback(worker.stop)
        app = create_app(settings, session_factory, open_blob_store(settings.blob_location))
        context: AppContext = app.state.context
        context.health.watch(guard)
        if worker is not None:
            context.health.watch_worker(worker)
        with _announced(settings, listener) as announce:
            connections = Connections(connection_limit(settings.max_connections))
            server = Server(server_config(app, settings, connections), startup, on_started=announce)
            asyncio.run(server.serve(sockets=[listener]))


def _open_database(
    settings: ServiceSettings, stack: ExitStack
) -> tuple[str, Sessions, SteadyThread | None]:
    """Return the database's URL, its sessions, and what keeps it running if it is our own.

    It is migrated then, with an admin key in it.
    """
    url, guard = _database(settings, stack)
    # What a service that was killed left behind would send clients to a port that is not ours.
    (settings.data_dir / SERVICE_FILE).unlink(missing_ok=True)
    schema.upgrade(url)
    engine = make_engine(
        url, application_name="filopodia-service", statement_timeout_s=STATEMENT_TIMEOUT_S
    )
    stack.callback(engine.dispose)
    session_factory = make_session_factory(engine)
    if guard is not None:
        with session_factory.begin() as session:
            idempotency.abandon_unfinished(session)
            prediction_jobs.end_leases(session)
    ensure_admin_key(session_factory, settings.data_dir)
    return url, session_factory, guard


def _database(settings: ServiceSettings, stack: ExitStack) -> tuple[str, SteadyThread | None]:
    """Return the database's URL, and what keeps it running; None if it is not our own."""
    url = settings.database_dsn()
    if url is not None:
        return url, None
    own = stack.enter_context(EmbeddedPostgres(settings.data_dir))
    return own.url, own.guard


@contextmanager
def _announced(settings: ServiceSettings, listener: socket.socket) -> Iterator[Callable[[], str]]:
    """Tell the command line on this machine where we are, as long as we are. What is yielded also returns it."""
    file = settings.data_dir / SERVICE_FILE
    port = listener.getsockname()[1]
    url = url_of(settings.host, port)

    def announce() -> str:
        write_private(file, json.dumps({"url": url, "pid": os.getpid()}))
        log.info("serving", url=url, dashboard=f"{url}/admin", key_file=ADMIN_KEY_FILE)
        return url

    try:
        yield announce
    finally:
        file.unlink(missing_ok=True)


def ensure_admin_key(session_factory: Sessions, data_dir: Path) -> None:
    """Make the first admin key and write it where only its owner can read it. A no-op if there is an admin key.

    A whole key that lies there already becomes the first one: whoever runs several services gives it to all of them.
    """
    file = data_dir / ADMIN_KEY_FILE
    found = file.read_text("utf-8", errors="replace").strip() if file.exists() else None
    with session_factory.begin() as session:
        key = keys.create_first_admin_key(session, found)
        if key is not None and key != found:
            # Before the commit: a key nobody can read would lock everybody out.
            write_private(file, key + "\n")


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    """End by an exception, so that everything started is stopped. uvicorn raises its signals again after serving."""
    sys.exit(0)


if __name__ == "__main__":
    main()
