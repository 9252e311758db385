"""The command line as a user meets it, as a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments, cwd, **environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("FILOPODIA_")}
    return subprocess.run(
        [sys.executable, "-m", "service.cli.main", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=clean | environment | {"PYTHONPATH": str(Path.cwd())},
        timeout=60,
        check=False,
    )


def test_help_names_every_command(tmp_path):
    result = run("--help", cwd=tmp_path)
    assert result.returncode == 0
    for command in ("serve", "learn", "predict", "history", "tasks", "publish", "delete", "demo"):
        assert command in result.stdout


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["learn"], ["predict", "birds", "missing.jpg"], ["learners"]]
)
def test_wrong_use_exits_with_2(arguments, tmp_path):
    assert run(*arguments, cwd=tmp_path).returncode == 2


def test_a_service_that_does_not_answer_exits_with_1(tmp_path):
    result = run(
        "learners", cwd=tmp_path, FILOPODIA_URL="http://127.0.0.1:9", FILOPODIA_KEY="fil_a_b"
    )
    assert result.returncode == 1
    assert "is the service running?" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_folder_without_labels_exits_with_2(tmp_path):
    (tmp_path / "photos").mkdir()
    result = run("learn", "birds", "photos", "--key", "fil_a_b", cwd=tmp_path)
    assert result.returncode == 2
    assert "There is no image" in result.stderr


def test_config_must_be_a_json_object(tmp_path):
    (tmp_path / "photos").mkdir()
    result = run("learn", "birds", "photos", "--config", "[1]", "--key", "k", cwd=tmp_path)
    assert result.returncode == 2


def test_starting_up_loads_no_torch(tmp_path):
    code = (
        "import sys, service.cli.main; "
        "heavy = {'torch', 'timm', 'sklearn', 'fastapi', 'plotly'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
