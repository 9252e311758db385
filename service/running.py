"""What `filopodia serve` runs on an open database: the worker beside it, and the app over HTTP. Loads PyTorch."""

import asyncio
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import structlog

from registry.blobs.opening import open_blob_store
from service.app import create_app
from service.database import SERVICE_FILE, OpenDatabase
from service.dependencies import AppContext
from service.http.connections import Connections
from service.listening import url_of
from service.private_files import ADMIN_KEY_FILE, write_private
from service.server import Server, connection_limit, server_config
from service.settings import ServiceSettings
from service.startup import Startup
from service.worker_process import WorkerProcess

log = structlog.get_logger(__name__)


def answer(
    settings: ServiceSettings, database: OpenDatabase, listener: socket.socket, startup: Startup
) -> None:
    """Start the worker and answer HTTP until SIGTERM or Ctrl-C; then stop both."""
    with ExitStack() as stack:
        worker = WorkerProcess(settings, database.url) if settings.starts_worker else None
        if worker is not None:
            worker.start()
            stack.callback(worker.stop)
        app = create_app(settings, database.sessions, open_blob_store(settings.blob_location))
        context: AppContext = app.state.context
        context.health.watch(database.guard)
        if worker is not None:
            context.health.watch_worker(worker)
        with _announced(settings, listener, startup) as announce:
            connections = Connections(connection_limit(settings.max_connections))
            server = Server(server_config(app, settings, connections), startup, on_started=announce)
            asyncio.run(server.serve(sockets=[listener]))


@contextmanager
def _announced(
    settings: ServiceSettings, listener: socket.socket, startup: Startup
) -> Iterator[Callable[[], str]]:
    """Tell the command line on this machine where we are, as long as we are. What is yielded also returns it."""
    file = settings.data_dir / SERVICE_FILE
    port = listener.getsockname()[1]
    url = url_of(settings.host, port)

    def announce() -> str:
        write_private(file, json.dumps({"url": url, "pid": os.getpid()}))
        log.info(
            "serving",
            url=url,
            dashboard=f"{url}/admin",
            key_file=ADMIN_KEY_FILE,
            waited_s=startup.waited_s,
        )
        return url

    try:
        yield announce
    finally:
        file.unlink(missing_ok=True)
