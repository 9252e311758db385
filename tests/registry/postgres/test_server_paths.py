"""The data directory of the embedded PostgreSQL may have any name that a folder may have."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from registry.data_dir import prepare_data_dir
from registry.errors import DataDirUnusableError, EmbeddedDatabaseError
from registry.postgres import schema
from registry.postgres.database import make_engine
from registry.postgres.embedded import EmbeddedPostgres
from registry.postgres.installation import open_database
from registry.postgres.server_paths import DETOUR, MAX_SOCKET_PATH, is_plain
from registry.settings import RegistrySettings

NAMES = [
    "two words",
    " edges ",
    "a,b",
    "100% %20 %s",
    "c++",
    "it's",
    'say "hi"',
    "back\\slash",
    "two\nlines\r",
    "a#b?c&d=e;f",
    "Küken·日本 é",
    "not\udcffutf-8",
    "@abstract",
    "-D",
    "$HOME `id` ~",
    f"{'x' * 200}/{'y' * 200}/{'z' * 200}",
]
STARTER = """
import os, sys, time
from pathlib import Path
from registry.postgres.embedded import EmbeddedPostgres
EmbeddedPostgres(Path(os.fsdecode(sys.argv[1]))).start()
print("ready", flush=True)
time.sleep(100_000)
"""


@pytest.fixture(scope="module")
def folder():
    # Not below pytest's folder, which is closed to the server's user.
    with tempfile.TemporaryDirectory(prefix="filopodia-test-") as folder:
        yield Path(folder)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_serves_a_data_directory_of_any_name(folder, name):
    with EmbeddedPostgres(folder / name) as server:
        assert schema.upgrade(server.url) == (None, schema.head_revision())
        engine = make_engine(server.url, application_name="tests")
        with engine.connect() as connection:
            assert schema.revision(connection) == schema.head_revision()
        engine.dispose()
        # A command beside it finds the running server.
        with open_database(RegistrySettings.model_construct(data_dir=folder / name)) as url:
            assert url == server.url
        socket_dir = Path(make_url(server.url).query["host"])
        assert is_plain(socket_dir)
    assert socket_dir.exists() == (socket_dir == server.pgdata)
    assert not (folder / name / DETOUR).is_symlink()


def test_a_plain_name_takes_no_detour(folder):
    with EmbeddedPostgres(folder / "plain_name-1.0") as server:
        assert Path(make_url(server.url).query["host"]) == server.pgdata
        assert not (server.data_dir / DETOUR).is_symlink()
    assert is_plain(Path("/" + "x" * (MAX_SOCKET_PATH - 15)))
    assert not is_plain(Path("/" + "x" * (MAX_SOCKET_PATH - 14)))


def test_a_relative_path_and_a_link_lead_to_the_same_place(folder, monkeypatch):
    (folder / "real one").mkdir()
    (folder / "link").symlink_to("real one")
    monkeypatch.chdir(folder)
    with EmbeddedPostgres(Path("link/")) as server:
        assert server.pgdata == Path(os.path.realpath(folder)) / "real one" / "postgres"
        psycopg.connect(server.url).close()


def test_what_a_killed_server_left_among_temporary_files_is_removed_by_the_next(folder):
    data = folder / "killed, then started"
    command = [sys.executable, "-c", STARTER, os.fsencode(data)]
    starter = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert starter.stdout.readline() == "ready\n"
    left = (data / DETOUR).readlink()
    assert left.is_dir()
    starter.kill()
    starter.wait()
    starter.stdout.close()
    with EmbeddedPostgres(data) as server:
        now = (data / DETOUR).readlink()
        assert (now.is_dir(), left.is_dir()) == (True, now == left)
        # Whoever tidies up temporary files takes it away under a server that runs: it comes back at the same place.
        for file in now.iterdir():
            file.unlink()
        now.rmdir()
        os.kill(server.pid, signal.SIGKILL)
        _connect_again(server.url)
    assert not now.exists()


def _connect_again(url):
    for _ in range(600):
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            signal.sigtimedwait([], 0.1)
        else:
            return
    raise AssertionError("The server does not come back.")


def test_a_name_that_links_elsewhere_is_left_alone(folder):
    """What the link names may be somebody else's by now: only a folder of ours and of our naming is removed."""
    data = folder / "planted link"
    data.mkdir()
    (data / "postgres").mkdir()
    precious = folder / "precious"
    precious.mkdir()
    (data / DETOUR).symlink_to(precious)
    (data / "postgres").rmdir()
    with EmbeddedPostgres(data):
        pass
    assert precious.is_dir()


def test_nowhere_for_the_socket_is_said(folder, monkeypatch):
    monkeypatch.setattr("registry.postgres.server_paths._TEMPORARY", ())
    monkeypatch.setenv("TMPDIR", str(folder / "not there"))
    with pytest.raises(EmbeddedDatabaseError, match="TMPDIR"):
        EmbeddedPostgres(folder / "two words").start()


@pytest.mark.parametrize("inside", ["", "sub"])
@pytest.mark.parametrize("what", ["file", "circle", "long"])
def test_a_data_directory_that_cannot_be_is_refused_in_one_sentence(folder, what, inside):
    path = folder / f"refused {what}"
    if what == "file":
        path.write_text("")
    elif what == "circle" and not path.is_symlink():
        path.symlink_to(path)
    elif what == "long":
        path = folder / ("x" * 300)
    for refuse in (prepare_data_dir, lambda path: EmbeddedPostgres(path).start()):
        with pytest.raises(DataDirUnusableError) as caught:
            refuse(path / inside)
        assert str(caught.value).count("\n") == 0
        assert "FILOPODIA_DATA_DIR" in str(caught.value)
