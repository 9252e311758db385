"""Installations of the service side by side, and bundles that go from one to another."""

from pathlib import Path

from fastapi.testclient import TestClient

from registry import consolidations, keys, queue
from registry.blobs.store import LocalBlobStore
from registry.postgres.database import make_engine, make_session_factory
from registry.schedule import Schedule
from service.app import create_app
from service.settings import ServiceSettings
from tests.factories import make_image
from tests.service.api import image_files
from worker.attempts import run_attempt
from worker.settings import WorkerSettings

TAR = {"Content-Type": "application/x-tar"}


class Installation:
    """A service with a database and a blob store of its own, and learning in this process."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.engine = make_engine(url, application_name="tests")
        self.sessions = make_session_factory(self.engine)
        self.blobs = LocalBlobStore(folder / "blobs")
        self.settings = ServiceSettings(
            data_dir=folder,
            device="cpu",
            watch_s=0.05,
            min_free_bytes=0,
            decode_threads=1,
            max_bundle_bytes=24 << 20,
        )
        with self.sessions.begin() as session:
            key = keys.create_key(session, "tests", "admin")[1]
        app = create_app(self.settings, self.sessions, self.blobs)
        headers = {"Authorization": f"Bearer {key}"}
        self.client = TestClient(app, headers=headers, raise_server_exceptions=False)

    def teach(self, learner: str, labels: tuple[str, ...], **query: str) -> int:
        """Let a learner learn made-up images, and return the version."""
        path = f"/v1/learners/{learner}/tasks"
        task_id = self.client.post(path, files=image_files(labels, 4), params=query).json()["id"]
        return self._carry_out(task_id)

    def consolidate(self, learner: str) -> int:
        """Have a learner consolidated that waits for it, and return the version."""
        with self.sessions.begin() as session:
            task_id = consolidations.request(session, learner, schedule=Schedule()).id
        return self._carry_out(task_id)

    def _carry_out(self, task_id: str) -> int:
        with self.sessions.begin() as session:
            token = queue.claim(session, task_id, "tests", 60).token
        run_attempt(
            task_id,
            token,
            session_factory=self.sessions,
            blobs=self.blobs,
            settings=WorkerSettings(data_dir=self.folder, database_url=self.url, device="cpu"),
        )
        task = self.client.get(f"/v1/tasks/{task_id}").json()
        assert task["status"] == "succeeded", task
        return task["version"]

    def answers(self, name: str, version: int, labels: tuple[str, ...]) -> list[dict]:
        """Return what a version says about new images of some labels, all of it."""
        files = [("images", (f"{v}.png", make_image(v, 77), "image/png")) for v in labels]
        query = {"version": version, "trace": "full", "store": False, "top_k": 9}
        path = f"/v1/learners/{name}/predictions"
        answer = self.client.post(path, files=files, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()["results"]

    def read(self, path: str) -> dict:
        """Return what is at a path."""
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()


def create(on, name, strategy="simplecil", config=None):
    body = {"name": name, "strategy": strategy, "backbone": "tiny", "config": config or {}}
    assert on.client.post("/v1/learners", json=body).status_code == 201


def export(on, name, number):
    answer = on.client.get(f"/v1/learners/{name}/versions/{number}/bundle")
    assert answer.status_code == 200, answer.text
    return answer


def bring(on, data, name=None, **headers):
    query = {} if name is None else {"name": name}
    return on.client.post(
        "/v1/learners/import", content=data, params=query, headers={**TAR, **headers}
    )
