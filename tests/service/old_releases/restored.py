"""An installation that holds what an older release backed up, and what its answers have to be."""

import gzip
from contextlib import contextmanager

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, make_url, text

from registry import keys, queue
from registry.blobs.store import LocalBlobStore
from registry.postgres.database import driver_url, make_engine, make_session_factory
from registry.upkeep.restore import check_backup, restore
from service.app import create_app
from tests.waiting import wait_until
from worker.attempts import run_attempt
from worker.settings import WorkerSettings

CLOSE = 1e-4
"""By how much scores may differ: the processor may be of another kind than the one they were made on."""
CLOSE_NOVELTY = 5e-4
"""The same of novelty, which is steep where few images calibrate it."""


class Restored:
    """An installation that holds an old backup, and learning in this process."""

    def __init__(self, old, url, folder, settings):
        backup = folder / "backup.tar"
        backup.write_bytes(gzip.decompress((old / "backup.tar.gz").read_bytes()))
        self.blobs = LocalBlobStore(folder / "blobs")
        self.found = restore(url, self.blobs, check_backup(backup))
        self.engine = make_engine(url, application_name="tests")
        self.sessions = make_session_factory(self.engine)
        with self.sessions.begin() as session:
            key = keys.create_key(session, "tests", "admin")[1]
        app = create_app(settings, self.sessions, self.blobs)
        headers = {"Authorization": f"Bearer {key}"}
        self.client = TestClient(app, headers=headers, raise_server_exceptions=False)
        self.worker = WorkerSettings(data_dir=folder, database_url=url, device="cpu")

    def read(self, path):
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def learned(self, answer):
        """Learn a task that was just posted, and return how it ended."""
        assert answer.status_code == 202, answer.text
        return self.learn(answer.json()["id"])

    def learn(self, task_id):
        """Learn a task that waits, and return how it ended."""
        with self.sessions.begin() as session:
            token = queue.claim(session, task_id, "tests", 60).token
        run_attempt(
            task_id,
            token,
            session_factory=self.sessions,
            blobs=self.blobs,
            settings=self.worker,
        )
        return self.read(f"/v1/tasks/{task_id}")

    def answers(self, name, version, pictures, **query):
        files = [("images", (f"{i}.png", data, "image/png")) for i, data in enumerate(pictures)]
        query |= {"top_k": 100, "store": False, "version": version}

        def ask():
            return self.client.post(f"/v1/learners/{name}/predictions", files=files, params=query)

        # What it holds is loaded once it has started.
        answer = wait_until(lambda: (found := ask()).status_code != 503 and found)
        assert answer.status_code == 200, answer.text
        return answer.json()["results"]


@contextmanager
def restored(old, postgres, settings, folder):
    """Bring in what lies in the folder `old`, into a database of its own."""
    engine = create_engine(driver_url(postgres.url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS old_release WITH (FORCE)"))
        connection.execute(text("CREATE DATABASE old_release"))
    engine.dispose()
    url = make_url(postgres.url).set(database="old_release").render_as_string(hide_password=False)
    installation = Restored(old, url, folder, settings)
    with installation.client:
        yield installation
    installation.engine.dispose()


def require_equal_answers(found, expected):
    assert [answer["label"] for answer in found] == [answer["label"] for answer in expected]
    assert [answer["known"] for answer in found] == [answer["known"] for answer in expected]
    for answer, before in zip(found, expected, strict=True):
        for number, close in (("score", CLOSE), ("novelty", CLOSE_NOVELTY)):
            assert answer[number] == pytest.approx(before[number], abs=close)
        scores = {entry["label"]: entry["score"] for entry in answer["top"]}
        assert scores == pytest.approx(
            {entry["label"]: entry["score"] for entry in before["top"]}, abs=CLOSE
        )
