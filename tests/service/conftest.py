"""Fixtures for the HTTP side: the app on a real database, its keys, and learning without a worker process."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from registry import keys, queue
from registry.blobs.store import LocalBlobStore
from registry.tables import ROLES
from service.app import create_app
from service.settings import ServiceSettings
from tests.service.api import image_files, version_of
from tests.waiting import wait_until
from worker.attempts import run_attempt
from worker.settings import WorkerSettings

Learn = Callable[[str], None]
Teach = Callable[..., dict[str, Any]]


@pytest.fixture
def settings(tmp_path: Path) -> ServiceSettings:
    return ServiceSettings(
        data_dir=tmp_path, device="cpu", watch_s=0.2, min_free_bytes=0, decode_threads=2
    )


@pytest.fixture
def role_keys(session_factory: sessionmaker[Session]) -> dict[str, str]:
    """One key of each role."""
    with session_factory.begin() as session:
        return {role: keys.create_key(session, role, role)[1] for role in ROLES}


@pytest.fixture
def app(
    settings: ServiceSettings, session_factory: sessionmaker[Session], blobs: LocalBlobStore
) -> FastAPI:
    return create_app(settings, session_factory, blobs)


@pytest.fixture
def client(app: FastAPI, role_keys: dict[str, str]) -> Iterator[TestClient]:
    """A client with an admin key; errors inside the app come back as answers, as they would from a server."""
    headers = {"Authorization": f"Bearer {role_keys['admin']}"}
    with TestClient(app, headers=headers, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def learn(
    session_factory: sessionmaker[Session], blobs: LocalBlobStore, database_url: str, tmp_path: Path
) -> Learn:
    """Learns a queued task in this process, as a worker would in another."""
    worker_settings = WorkerSettings(data_dir=tmp_path, database_url=database_url, device="cpu")

    def run(task_id: str) -> None:
        with session_factory.begin() as session:
            claimed = queue.claim(session, task_id, "tests", 60)
        assert claimed is not None
        run_attempt(
            task_id,
            claimed.token,
            session_factory=session_factory,
            blobs=blobs,
            settings=worker_settings,
        )

    return run


@pytest.fixture
def teach(client: TestClient, learn: Learn) -> Teach:
    """Posts a task of made-up images, learns it, and returns how it ended."""

    def run(labels: tuple[str, ...], *, n: int = 6, learner: str = "birds") -> dict[str, Any]:
        answer = client.post(f"/v1/learners/{learner}/tasks", files=image_files(labels, n))
        assert answer.status_code == 202, answer.text
        task_id = answer.json()["id"]
        learn(task_id)
        ended: dict[str, Any] = client.get(f"/v1/tasks/{task_id}").json()
        return ended

    return run


@pytest.fixture
def birds(client: TestClient) -> str:
    """A learner that knows nothing yet."""
    body = {"name": "birds", "strategy": "simplecil", "backbone": "tiny"}
    answer = client.post("/v1/learners", json=body)
    assert answer.status_code == 201, answer.text
    return "birds"


@pytest.fixture
def taught(client: TestClient, birds: str, teach: Teach) -> str:
    """A learner that knows herons and egrets, and is served."""
    assert teach(("heron", "egret"))["status"] == "succeeded"
    wait_until(lambda: version_of(client, birds) == 1)
    return birds
