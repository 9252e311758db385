"""uvicorn's server as we run it: it says when it answers, and goes without anybody being cut off."""

import asyncio
import gc
import resource
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI

from service.dependencies import AppContext
from service.http.connections import RESERVED, Connections
from service.http.protocol import deadline_protocol
from service.settings import ServiceSettings
from service.startup import Startup
from service.welcome import welcome

log = structlog.get_logger(__name__)

STOPPING = "\nStopping: what is being learned is kept, and goes on at the next start. Ctrl-C again does not wait."
POLL_S = 0.05
LOADING_S = 5.0
"""How long a start waits for what was learned to be loaded before the port is opened; after that, it loads beside."""
KEEP_ALIVE_S = 75
"""Longer than proxies keep an idle connection to us (nginx: 60 s), so that it is theirs to close."""
BACKLOG = 512
"""Connections that the kernel makes for us until we take them."""
ACCEPTED_AT_ONCE = 8
"""asyncio takes as many as it is told the backlog is before it does anything else."""
OTHER_FILES = 256
"""Descriptors kept for anything but connections."""
FEWEST = 16
"""Connections there may be however few files the system allows."""


class Server(uvicorn.Server):
    """uvicorn's server that loads before it listens, and drains before it stops.

    On SIGTERM it goes on for `drain_s`: `/readyz` says 503, and every answer that its connection ends, so that a proxy
    goes elsewhere. Then, or at once on Ctrl-C, long polls and streams end, and it stops when everything is answered.
    """

    def __init__(
        self, config: uvicorn.Config, startup: Startup, *, on_started: Callable[[], str]
    ) -> None:
        super().__init__(config)
        self._on_started = on_started
        self._startup = startup
        self._drained_at: float | None = None

    @property
    def _context(self) -> AppContext:
        app: Any = self.config.app
        context: AppContext = app.state.context
        return context

    @property
    def _connections(self) -> Connections:
        protocol: Any = self.config.http_protocol_class
        connections: Connections = protocol.connections_open
        return connections

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen when predictions are answered, or after a while, and say so."""
        start_app = self.lifespan.startup

        async def start_and_load() -> None:
            await start_app()
            await self._until_loaded(time.monotonic() + LOADING_S)
            keep_what_is_loaded()

        self.lifespan.startup = start_and_load
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(BACKLOG)
        url = self._on_started()
        if self._startup.is_watched and not self.should_exit:
            self._welcoming = asyncio.create_task(self._welcome(url))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain, or to stop."""
        if not self.should_exit and self._drained_at is None:
            self._startup.say(STOPPING)
        drain_s = self._context.settings.drain_s
        if sig == signal.SIGTERM and drain_s and self.started and self._drained_at is None:
            self._drained_at = time.monotonic() + drain_s
            self._context.draining.set()
            self._connections.drain()
            self._captured_signals.append(sig)
            return
        self._stop_waiting()
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Say whether it is time to stop."""
        if self._drained_at is not None and time.monotonic() >= self._drained_at:
            self._stop_waiting()
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take in who has been connecting, and stop when everything is answered."""
        self._connections.drain()
        for listener in sockets or ():
            await self._accept_waiting(listener)
        await super().shutdown(sockets)

    def _stop_waiting(self) -> None:
        self._context.draining.set()
        self._context.stopping.set()

    async def _accept_waiting(self, listener: socket.socket) -> None:
        """Accept the connections that the kernel has made for us: closing the port would reset them."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        while len(self._connections) < self._connections.limit + RESERVED:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setblocking(False)
            await loop.connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        kind: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = kind(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    async def _until_loaded(self, deadline: float) -> None:
        while not (
            self._context.watcher.has_looked or self.should_exit or time.monotonic() > deadline
        ):
            await asyncio.sleep(POLL_S)

    async def _welcome(self, url: str) -> None:
        """Wait until predictions are answered, and show the way in."""
        with self._startup.step("Loading what was learned"):
            await self._until_loaded(float("inf"))
        if not self.should_exit:
            for line in await asyncio.to_thread(welcome, self._context, url):
                self._startup.say(line)


def keep_what_is_loaded() -> None:
    """Take all that is there out of the garbage collector's sight, and let it collect what comes.

    What is loaded stays as long as the process. Looking through the half million objects of the libraries would stop
    everybody for a third of a second now and then; see https://docs.python.org/3/library/gc.html#gc.freeze. So it is
    not done before either, as long as a start waits: one of a hundred of them could go, a megabyte.
    """
    gc.freeze()
    gc.enable()


def server_config(
    app: FastAPI, settings: ServiceSettings, connections: Connections
) -> uvicorn.Config:
    """Return how uvicorn runs; connections are limited by ourselves."""
    protocol: Any = deadline_protocol(settings, connections)
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # AdmissionMiddleware looks at them
        backlog=ACCEPTED_AT_ONCE,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.graceful_stop_s,
    )


def connection_limit(wanted: int) -> int:
    """Let this process open as many files as the system allows it, and return how many connections that leaves."""
    others = RESERVED + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted + others if hard == resource.RLIM_INFINITY else min(hard, wanted + others)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    limit = min(wanted, max(FEWEST, allowed - others))
    if limit < wanted:
        log.warning("fewer_connections", wanted=wanted, limit=limit, open_files=hard)
    return limit
