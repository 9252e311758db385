"""`filopodia export` and `import` against a service that listens on a port."""

import json
import threading

import numpy as np
import onnxruntime
import pytest
import uvicorn
from structlog.testing import capture_logs
from typer.testing import CliRunner

from service.cli.local.demo_process import free_port
from service.cli.main import app as commands
from service.client import ProblemError
from tests.waiting import wait_until


@pytest.fixture
def run(app, client, role_keys):
    """Returns a function that runs a command as a trainer."""
    port = free_port()
    config = uvicorn.Config(app, port=port, lifespan="off", log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    address = ["--url", f"http://127.0.0.1:{port}", "--key", role_keys["trainer"]]
    # The service's log, a line of which may come late, is not what the commands print.
    with capture_logs():
        yield lambda *arguments: CliRunner().invoke(commands, [*map(str, arguments), *address])
    server.should_exit = True
    thread.join()


def test_a_version_goes_out_and_comes_in_under_another_name(run, client, taught, tmp_path):
    file = tmp_path / "birds.tar"

    exported = run("export", taught, file, "--json")
    imported = run("import", file, "--name", "copy")

    assert exported.exit_code == 0, exported.output
    assert json.loads(exported.output) == {
        "learner": "birds",
        "version": 1,
        "file": str(file),
        "size_bytes": file.stat().st_size,
    }
    assert imported.exit_code == 0, imported.output
    assert "copy knows 2 classes, learned in 1 tasks" in imported.output
    assert client.get("/v1/learners/copy").json()["live_version"] == 1
    assert [path.name for path in tmp_path.glob("*.tar*")] == ["birds.tar"]


def test_a_file_that_is_called_so_or_asked_for_is_an_onnx_file(run, taught, tmp_path):
    by_name = run("export", taught, tmp_path / "birds.onnx", "--version", 1)
    by_option = run("export", taught, tmp_path / "birds.bin", "--onnx")

    assert (by_name.exit_code, by_option.exit_code) == (0, 0), by_name.output + by_option.output
    assert "Wrote version 1 of birds" in by_name.output
    for file in (tmp_path / "birds.onnx", tmp_path / "birds.bin"):
        session = onnxruntime.InferenceSession(file)
        side = session.get_inputs()[0].shape[1]
        images = np.zeros((2, side, side, 3), dtype=np.uint8)
        assert session.run(["scores"], {"images": images})[0].shape == (2, 2)
    refused = run("import", tmp_path / "birds.onnx")
    assert refused.exit_code == 1


def test_what_cannot_be_done_is_said(run, birds, tmp_path):
    file = tmp_path / "birds.tar"
    nothing = run("export", birds, file)
    assert (nothing.exit_code, file.exists()) == (1, False)
    assert "has learned nothing yet" in nothing.stderr
    assert run("export", birds, tmp_path / "nowhere" / "x.tar").exit_code == 2
    file.write_bytes(b"of another day")
    assert run("export", birds, file).exit_code == 2
    assert run("export", birds, file, "--force").exit_code == 1
    assert file.read_bytes() == b"of another day"
    assert run("import", tmp_path / "missing.tar").exit_code == 2
    file.write_bytes(b"PK\x03\x04" + bytes(1000))
    refused = run("import", file)
    assert isinstance(refused.exception, ProblemError)
    assert refused.exception.code == "artifact-format-unsupported"
