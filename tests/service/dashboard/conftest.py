"""Fixtures for the dashboard: browsers without a screen, real ones, and a learner to look at."""

import threading
from collections.abc import Callable, Iterator

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy.orm import Session

from registry.blobs.store import LocalBlobStore
from tests.factories import make_learner
from tests.service.dashboard.published import publish_task
from tests.waiting import wait_until

LogIn = Callable[..., Response]


@pytest.fixture
def visitor(app: FastAPI, client: TestClient) -> TestClient:
    """A browser without a session. The app runs as long as `client` does."""
    return TestClient(app, headers={"Accept": "text/html"}, follow_redirects=False)


@pytest.fixture
def log_in(visitor: TestClient) -> LogIn:
    """Logs the visitor in with a key."""

    def run(key: str, **form: str) -> Response:
        headers = {"Sec-Fetch-Site": "same-origin"}
        return visitor.post("/admin/login", data={"key": key, **form}, headers=headers)

    return run


@pytest.fixture
def browser(visitor: TestClient, log_in: LogIn, role_keys: dict[str, str]) -> TestClient:
    """A browser that has logged in as admin."""
    log_in(role_keys["admin"])
    return visitor


@pytest.fixture
def three(session: Session, blobs: LocalBlobStore) -> str:
    """A learner with three tasks and versions."""
    make_learner(session, "birds")
    publish_task(session, blobs, "birds", ("heron", "egret"), [0.9])
    publish_task(session, blobs, "birds", ("stork",), [0.8, 1.0])
    publish_task(session, blobs, "birds", ("crane",), [0.8, 0.9, 1.0])
    return "birds"


@pytest.fixture
def site(app: FastAPI, role_keys: dict[str, str]) -> Iterator[str]:
    """The app on a port of its own."""
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_config=None, access_log=False, lifespan="on")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()
