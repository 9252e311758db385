"""The app on a real port of this machine, with a learner of tasks beside it, both in threads of the test."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI
from sqlalchemy.orm import Session, sessionmaker

from registry import queue
from registry.blobs.store import BlobStore
from tests.waiting import wait_until
from worker.attempts import run_attempt
from worker.settings import WorkerSettings

POLL_S = 0.05


@contextmanager
def served(app: FastAPI, port: int = 0) -> Iterator[str]:
    """Answer HTTP with `app` while the block runs; yields the address. Port 0 is any free one."""
    started = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started.set()

    config = uvicorn.Config(app, ws="none", log_config=None, access_log=False, lifespan="on")
    server = Server(config)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        wait_until(lambda: started.is_set() or not thread.is_alive())
        assert started.is_set(), "the app does not start"
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            app.state.context.stopping.set()
            server.should_exit = True
            thread.join()


@contextmanager
def learning(
    sessions: sessionmaker[Session], blobs: BlobStore, settings: WorkerSettings
) -> Iterator[None]:
    """Learn what is queued while the block runs, as a worker would in another process."""
    stop = threading.Event()

    def learn_next() -> bool:
        with sessions.begin() as session:
            claimed = queue.claim_next(session, "tests", 60)
        if claimed is not None:
            run_attempt(
                claimed.id, claimed.token, session_factory=sessions, blobs=blobs, settings=settings
            )
        return claimed is not None

    def run() -> None:
        while not stop.is_set():
            if not learn_next():
                stop.wait(POLL_S)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
