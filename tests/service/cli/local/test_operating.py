"""The commands of whoever runs an installation, on an embedded database."""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from registry.blobs.store import LocalBlobStore
from registry.postgres import schema
from registry.postgres.database import make_engine, make_session_factory, migrate
from registry.postgres.embedded import EmbeddedPostgres
from service.cli.main import app
from tests.factories import make_learner, make_task, publish_task, put_artifact


@dataclass
class Result:
    returncode: int
    stdout: str
    stderr: str


def filopodia(*arguments, **environment):
    """Run a command in this process: its own would spend most of the test loading."""
    unset = {
        name: None
        for name in os.environ
        if name.startswith(("FILOPODIA_", "AWS_")) or name.endswith("_URL")
    }
    result = CliRunner().invoke(
        app,
        [str(argument) for argument in arguments],
        env=unset | {"FILOPODIA_MIN_FREE_BYTES": "0"} | environment,
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Result(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(scope="module")
def folder():
    # Not below pytest's own folder, which is closed to the server's user.
    with tempfile.TemporaryDirectory(prefix="filopodia-test-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def data(folder):
    """A data directory with a learner, whose service has been stopped."""
    data = folder / "data"
    blobs = LocalBlobStore(data / "blobs")
    with EmbeddedPostgres(data) as server:
        migrate(server.url)
        engine = make_engine(server.url, application_name="tests")
        with make_session_factory(engine).begin() as session:
            make_learner(session)
            task = make_task(session, blobs)
            publish_task(session, task, manifest_sha256=put_artifact(blobs, b"tensors"))
        engine.dispose()
    return data


@pytest.fixture(scope="module")
def archive(data, folder):
    result = filopodia("backup", folder / "all.tar", "--data", data)
    assert result.returncode == 0, result.stderr
    assert "1 learners, 1 tasks, 1 versions and 20 stored files" in " ".join(result.stdout.split())
    return folder / "all.tar"


def test_restores_into_a_fresh_data_directory_once(archive, folder):
    elsewhere = folder / "elsewhere"
    result = filopodia("migrate", "--data", elsewhere)
    assert result.returncode == 0, result.stderr
    assert f"was empty, is now at revision {schema.head_revision()}" in result.stdout
    result = filopodia("restore", archive, "--data", elsewhere)
    assert result.returncode == 0, result.stderr
    assert "Restored 1 learners" in result.stdout
    key = (elsewhere / "admin.key").read_text().strip()
    assert key.startswith("fil_")
    assert "admin.key" in result.stdout

    result = filopodia("doctor", "--json", "--collect", "--data", elsewhere)
    assert result.returncode == 0, result.stdout
    report = json.loads(result.stdout)
    assert {check["state"] for check in report["checks"]} == {"ok"}
    names = {check["name"] for check in report["checks"]}
    assert names >= {"settings", "database", "migrations", "versions", "blobs", "disk of data"}
    assert report["collected"] == {"n_blobs": 0, "size_bytes": 0}

    result = filopodia("restore", archive, "--data", elsewhere)
    assert result.returncode == 1
    assert "--replace" in result.stderr
    assert filopodia("restore", archive, "--replace", "--data", elsewhere).returncode == 0
    assert (elsewhere / "admin.key").read_text().strip() != key


def test_works_beside_whoever_runs_the_database(data, folder, archive):
    with EmbeddedPostgres(data) as server:
        result = filopodia("backup", folder / "second.tar", "--data", data)
        assert result.returncode == 0, result.stderr
        assert "already at revision" in filopodia("migrate", "--data", data).stdout
        assert filopodia("doctor", "--data", data).returncode == 0
        engine = make_engine(server.url, application_name="filopodia-service")
        with engine.connect():
            result = filopodia("restore", archive, "--replace", "--data", data)
        engine.dispose()
    assert result.returncode == 1
    assert "stop them all" in " ".join(result.stderr.split())


def test_goes_to_database_url_and_finds_what_is_broken(data, folder):
    with EmbeddedPostgres(data) as server:
        blobs = LocalBlobStore(data / "blobs")
        damaged = next(iter(blobs.listing())).sha256
        path = blobs.root / "sha256" / damaged[:2] / damaged[2:]
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        environment = {"DATABASE_URL": server.url, "BLOB_URL": str(blobs.root)}
        result = filopodia("doctor", **environment)
        assert result.returncode == 1
        assert "FAIL" in result.stdout
        assert damaged in "".join(result.stdout.split())
        result = filopodia("doctor", "--no-deep", **environment)
        assert result.returncode == 0, result.stdout
        result = filopodia("backup", folder / "damaged.tar", **environment)
        assert result.returncode == 1
        assert damaged in "".join(result.stderr.split())
        assert not (folder / "damaged.tar").exists()
        result = filopodia("backup", "--incomplete", folder / "damaged.tar", **environment)
        assert result.returncode == 0
        assert "1 stored files are missing" in result.stderr
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (["doctor"], {}, "no installation in"),
        (["backup", "x.tar"], {}, "no installation in"),
        (["doctor"], {"DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}, "does not answer"),
        (["migrate"], {"DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}, "does not answer"),
        (["doctor"], {"BLOB_URL": "ftp://x/y"}, "BLOB_URL must be"),
        (
            ["doctor"],
            {"FILOPODIA_PORT": "x"},
            "FILOPODIA_PORT must be a whole number from 0 to 65535",
        ),
    ],
)
def test_what_goes_wrong_is_one_sentence(tmp_path, arguments, environment, sentence):
    result = filopodia(*arguments, "--data", tmp_path / "none", **environment)
    assert result.returncode == 1
    assert sentence in " ".join((result.stdout + result.stderr).split())
    assert not (tmp_path / "none").exists()


def test_a_file_that_is_no_backup_is_refused_before_anything_is_made(folder):
    stranger = folder / "stranger.tar"
    stranger.write_bytes(b"no tar")
    result = filopodia("restore", stranger, "--data", folder / "untouched")
    assert result.returncode == 1
    assert "none of ours" in result.stderr
    assert not (folder / "untouched").exists()
