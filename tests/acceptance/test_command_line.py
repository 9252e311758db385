"""The command line against a real service: what it prints, for people and for programs, and its exit codes."""

import json
import os
import subprocess
import sys

import pytest

from tests.factories import make_image

pytestmark = pytest.mark.slow


@pytest.fixture
def filopodia(service):
    """Runs a command as someone would on the machine of the service."""

    def run(*arguments, code=0, **environment):
        result = subprocess.run(
            [sys.executable, "-m", "service.cli.main", *arguments],
            capture_output=True,
            text=True,
            env=os.environ | {"FILOPODIA_DATA_DIR": str(service.data_dir)} | environment,
            check=False,
        )
        assert result.returncode == code, result.stdout + result.stderr
        assert "Traceback" not in result.stderr
        return result

    return run


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of labelled images, and one image that is in none of its folders."""
    folder = tmp_path_factory.mktemp("photos")
    for split, first, n in (("train", 0, 8), ("eval", 8, 4)):
        for label in ("heron", "egret"):
            (folder / "labelled" / split / label).mkdir(parents=True)
            for i in range(first, first + n):
                path = folder / "labelled" / split / label / f"{i}.png"
                path.write_bytes(make_image(label, i))
    (folder / "unseen.png").write_bytes(make_image("heron", 99))
    return folder


@pytest.fixture(scope="module")
def learned(service, photos):
    """A learner made by the command line alone."""
    command = ["learn", "cli-birds", str(photos / "labelled"), "--strategy", "simplecil"]
    result = subprocess.run(
        [sys.executable, "-m", "service.cli.main", *command, "--backbone", "tiny"],
        capture_output=True,
        text=True,
        env=os.environ | {"FILOPODIA_DATA_DIR": str(service.data_dir)},
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 classes, 16 images to learn from, 8 kept out" in result.stdout
    assert "task 1" in result.stdout
    assert "version 1" in result.stdout
    return "cli-birds"


def test_predict_shows_label_and_route(filopodia, learned, photos):
    text = filopodia("predict", learned, str(photos / "unseen.png")).stdout
    assert "unseen.png (version 1)" in text
    assert "heron" in text
    assert "route" in text


def test_predict_for_programs(filopodia, learned, photos):
    answer = json.loads(filopodia("predict", learned, str(photos / "unseen.png"), "--json").stdout)
    assert answer["results"][0]["label"] == "heron"


def test_an_unusable_image_exits_with_1(filopodia, learned, photos):
    broken = photos / "broken.png"
    broken.write_bytes(make_image("heron")[:300])
    result = filopodia("predict", learned, str(photos / "unseen.png"), str(broken), code=1)
    assert "heron" in result.stdout
    assert "broken.png" in result.stdout


def test_lists(filopodia, learned):
    assert "cli-birds" in filopodia("learners").stdout
    assert "version 1" in filopodia("history", learned).stdout
    assert "succeeded" in filopodia("tasks", learned).stdout
    assert "live" in filopodia("versions", learned).stdout
    assert "artsy" in filopodia("strategies").stdout


@pytest.mark.parametrize(
    "command",
    ["learners", "history cli-birds", "tasks", "versions cli-birds", "strategies", "keys list"],
)
def test_everything_speaks_json(filopodia, learned, command):
    json.loads(filopodia(*command.split(), "--json").stdout)


def test_keys_are_made_used_and_revoked(filopodia, learned):
    created = json.loads(
        filopodia("keys", "create", "visitor", "--role", "reader", "--json").stdout
    )
    as_reader = {"FILOPODIA_KEY": created["key"]}
    filopodia("history", learned, **as_reader)
    refused = filopodia("keys", "create", "other", code=1, **as_reader)
    assert "forbidden" in refused.stderr
    filopodia("keys", "revoke", created["id"], "--yes")
    assert "unauthorized" in filopodia("learners", code=1, **as_reader).stderr


def test_what_is_not_there_exits_with_1(filopodia):
    assert "learner-not-found" in filopodia("history", "nobody", code=1).stderr


def test_known_labels_are_refused_in_words(filopodia, learned, photos):
    result = filopodia("learn", learned, str(photos / "labelled"), code=1)
    assert "label-known" in result.stderr
    assert "  heron: The label is known already." in result.stderr


def test_what_was_learned_is_rolled_back_and_unlearned(filopodia, photos, tmp_path):
    command = ["learn", "cli-undo", str(photos / "labelled"), "--strategy", "simplecil"]
    filopodia(*command, "--backbone", "tiny")
    (tmp_path / "crane").mkdir()
    for i in range(4):
        (tmp_path / "crane" / f"{i}.png").write_bytes(make_image("crane", i))
    filopodia("learn", "cli-undo", str(tmp_path))
    assert "builds on version 2" in filopodia("rollback", "cli-undo", "1").stdout
    lines = filopodia("history", "cli-undo").stdout.splitlines()
    assert [line.endswith("live") for line in lines[1:3]] == [True, False]
    heading, *rows = (line.split() for line in filopodia("learners").stdout.splitlines())
    assert heading[4:7] == ["tasks", "live", "head"]
    assert next(row for row in rows if row[0] == "cli-undo")[4:7] == ["1", "1", "2"]
    moved = filopodia("rollback", "cli-undo", "1", "--move-head", "--json").stdout
    assert json.loads(moved) == {"name": "live", "version": 1, "head_version": 1}
    assert "superseded" in filopodia("tasks", "cli-undo").stdout
    filopodia("rollback", "cli-undo", "2", "--move-head")

    result = filopodia("unlearn", "cli-undo", "--task", "2", "--yes")
    assert "unlearns crane" in result.stdout
    assert "Version 3 is without it." in result.stdout
    assert "erased" in filopodia("versions", "cli-undo").stdout
    assert "version-erased" in filopodia("rollback", "cli-undo", "2", code=1).stderr
    queued = filopodia(
        "unlearn", "cli-undo", "--class", "egret", "--no-wait", "--json", "--yes"
    ).stdout
    assert json.loads(queued)["classes"] == ["egret"]
    assert "--task" in filopodia("unlearn", "cli-undo", code=2).stderr
    assert "unknown-content" in filopodia("unlearn", "cli-undo", "--task", "9", code=1).stderr
