"""What `make check` must refuse: code that would run what a file or a request says."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
OPTIONS = ("check", "--no-cache", "--output-format=concise", "--stdin-filename=service/example.py")


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("TID251", "import pickle"),
        ("TID251", "from joblib import load"),
        ("TID251", 'import torch\n\ntorch.load("weights.pt", weights_only=True)'),
        ("TID251", 'import torch\n\ntorch.save({}, "weights.pt")'),
        ("S506", 'import yaml\n\nyaml.load("a: b", Loader=yaml.UnsafeLoader)'),
        ("S307", 'eval("1 + 1")'),
        ("S102", 'exec("pass")'),
        ("S602", 'import subprocess\n\nsubprocess.run("ls $HOME", shell=True, check=False)'),
        ("S608", 'name = input()\nquery = f"SELECT * FROM tasks WHERE name = {name}"'),
    ],
)
def test_is_refused(rule, code):
    finished = subprocess.run(
        [sys.executable, "-m", "ruff", *OPTIONS, "-"],
        cwd=PROJECT,
        input=f'"""Example."""\n\n{code}\n',
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1
    assert f" {rule} " in finished.stdout


def test_no_array_is_unpickled():
    for folder in ("service", "worker", "registry", "models", "benchmarks", "migrations"):
        for file in (PROJECT / folder).rglob("*.py"):
            assert "allow_pickle=True" not in file.read_text(), file
