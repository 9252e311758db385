"""`filopodia feedback` and `learn --from-feedback` against a service that listens on a port."""

import json

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from service.cli.main import app as commands
from tests.factories import make_image
from tests.served import learning, served
from worker.settings import WorkerSettings


@pytest.fixture
def run(app, role_keys, session_factory, blobs, database_url, tmp_path):
    """Returns a function that runs a command as a trainer; what it posts is learned."""
    worker = WorkerSettings(data_dir=tmp_path, database_url=database_url, device="cpu")
    # The service's log is not what the commands print.
    with capture_logs(), served(app) as url, learning(session_factory, blobs, worker):
        address = ["--url", url, "--key", role_keys["trainer"]]
        yield lambda *arguments: CliRunner().invoke(commands, [*map(str, arguments), *address])


def test_what_was_wrong_is_said_and_learned(run, tmp_path):
    files = []
    for label in ("heron", "egret"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(4):
            (tmp_path / "photos" / label / f"{i}.png").write_bytes(make_image(label, i))
    for i in range(2):
        files.append(tmp_path / f"owl-{i}.png")
        files[-1].write_bytes(make_image("owl", i))
    learner = ("birds", "--create", "--strategy", "simplecil", "--backbone", "tiny")
    first = run("learn", *learner[:1], tmp_path / "photos", *learner[1:])
    assert first.exit_code == 0, first.output

    shown = run("predict", "birds", *files).output
    answer = json.loads(run("predict", "birds", *files, "--json").output)
    said = [run("feedback", answer["id"], "owl", "--index", i) for i in (0, 1)]
    again = run("feedback", answer["id"], "owl", "--json")
    (tmp_path / "heron.png").write_bytes(make_image("heron", 9))
    known = json.loads(run("predict", "birds", tmp_path / "heron.png", "--json").output)
    run("feedback", known["id"], "heron")
    learned = run("learn", "birds", "--from-feedback")
    right = json.loads(run("predict", "birds", files[0], "--json").output)

    assert f"{files[1]} (version 1)  prd_" in shown
    assert " --index 1" in shown
    assert answer["results"][1]["label"] in said[1].output
    assert "owl-1.png" in said[1].output
    assert [item["label"] for item in json.loads(again.output)["feedback"]] == ["owl", "owl"]
    assert learned.exit_code == 0, learned.output
    assert "2 pieces of feedback taken, 1 stay pending" in learned.output
    assert "--from-feedback --extend" in learned.output
    assert right["results"][0]["label"] == "owl"


def test_learning_needs_a_folder_or_feedback(run):
    refused = run("learn", "birds")
    assert refused.exit_code == 2
    assert "--from-feedback" in refused.output
