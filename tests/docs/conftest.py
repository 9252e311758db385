"""A service on tiny data for the documents' examples."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from registry import keys
from service.app import create_app
from service.private_files import write_private
from service.settings import ServiceSettings
from tests.factories import make_image
from tests.served import learning, served
from tests.waiting import wait_until
from worker.settings import WorkerSettings


@pytest.fixture
def service(session_factory, blobs, database_url, tmp_path, monkeypatch) -> Iterator[str]:
    """A served app that learns; the working folder is what the documents assume. Yields the address."""
    home = tmp_path / "home"
    data_dir = home / "filopodia-data"
    data_dir.mkdir(parents=True)
    with session_factory.begin() as session:
        key = keys.create_first_admin_key(session)
    write_private(data_dir / "admin.key", key + "\n")
    for folder, labels in (("photos", ("heron", "egret")), ("more-photos", ("stork", "crane"))):
        for label in labels:
            (home / folder / label).mkdir(parents=True)
            for i in range(8):
                (home / folder / label / f"{i}.png").write_bytes(make_image(label, i))
    (home / "new.png").write_bytes(make_image("heron", 99))
    (home / "new-photos" / "pond").mkdir(parents=True)
    (home / "new-photos" / "1.png").write_bytes(make_image("egret", 98))
    (home / "new-photos" / "pond" / "2.png").write_bytes(make_image("heron", 98))
    (home / "new-photos" / "notes.txt").write_text("Seen on Sunday.")
    with zipfile.ZipFile(home / "summer.zip", "w") as archive:
        archive.write(home / "new-photos" / "1.png", "1.png")
        archive.write(home / "new-photos" / "pond" / "2.png", "pond/2.png")
        archive.writestr("pond/torn.jpg", b"\xff\xd8\xff")
    for label in ("heron", "egret", "plaice"):
        (home / "kept-out" / label).mkdir(parents=True)
        for i in (96, 97):
            (home / "kept-out" / label / f"{i}.png").write_bytes(make_image(label, i))
    (home / "kept-out" / "egret" / "late.png").write_bytes(make_image("heron", 95))
    for i in (1, 2):
        (home / f"owl-{i}.png").write_bytes(make_image("owl", i))
    monkeypatch.chdir(home)
    settings = ServiceSettings(data_dir=data_dir, device="cpu", watch_s=0.05, min_free_bytes=0)
    worker = WorkerSettings(data_dir=data_dir, database_url=database_url, device="cpu")
    app = create_app(settings, session_factory, blobs)
    # The service's log is not what the examples print.
    with capture_logs(), served(app) as url, learning(session_factory, blobs, worker):
        # The documents speak of one that is up; it answers before it has looked for versions.
        wait_until(lambda: httpx.get(f"{url}/readyz", trust_env=False).status_code == 200)
        yield url


@pytest.fixture
def text(request) -> str:
    """The document that the test names."""
    return (Path(__file__).parents[2] / "docs" / request.param).read_text("utf-8")
