"""Uploads while the blob store is out of reach, in both kinds of store: refused for now, and nothing is kept."""

import socket

import pytest
from sqlalchemy import func, select

from registry.blobs.opening import open_blob_store
from registry.blobs.store import LocalBlobStore
from registry.tables import TaskRow
from tests.factories import make_learner
from tests.service.api import image_files


@pytest.fixture(params=["s3", "disk"])
def blobs(request, tmp_path, monkeypatch):
    """A store that cannot be reached."""
    if request.param == "disk":
        (tmp_path / "failpoints").mkdir()
        (tmp_path / "failpoints" / "blobs.after_write").write_text("io")
        monkeypatch.setenv("FILOPODIA_FAILPOINTS", str(tmp_path / "failpoints"))
        return LocalBlobStore(tmp_path / "blobs")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return open_blob_store("s3://learners/x")


def test_an_upload_is_refused_for_now(client, session_factory):
    with session_factory.begin() as session:
        make_learner(session)
    answer = client.post("/v1/learners/birds/tasks", files=image_files(("heron", "egret")))
    assert (answer.status_code, answer.json()["code"]) == (503, "storage-unavailable")
    assert answer.headers["retry-after"] == "1"
    assert "127.0.0.1" not in answer.text
    with session_factory() as session:
        assert session.scalar(select(func.count()).select_from(TaskRow)) == 0
