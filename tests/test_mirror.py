"""A test lies where what it tests does, and what several tests import is neither a test nor a conftest."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
ACROSS = re.findall(
    r"^\| `tests/([\w/]+)/` \|", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.MULTILINE
)
"""Folders, as CONTRIBUTING.md lists them, of tests that belong to no module."""
EXCEPTIONS = {
    "models/strategies/test_contract.py": "every strategy of the catalog",
    "models/strategies/test_new_strategy.py": "every place that lists the strategies",
    "models/strategies/test_unlearning.py": "every strategy that unlearns, by one measure",
    "registry/test_rules.py": "every function of the registry",
    "worker/test_processes.py": "what the processes of a worker load, and what they are given",
}
"""What else belongs to no module, and what it is about instead."""


def below(folder: Path = TESTS, pattern: str = "test_*.py") -> list[PurePosixPath]:
    return sorted(PurePosixPath(path.relative_to(TESTS)) for path in folder.rglob(pattern))


def is_across(path: PurePosixPath) -> bool:
    return any(path.is_relative_to(folder) for folder in ACROSS)


def has_module(path: PurePosixPath, root: Path = ROOT) -> bool:
    """Return whether `a/test_b_c.py` is about the module or package `a/b_c`, or one side of `a/b`."""
    words = path.stem.removeprefix("test_").split("_")
    names = ["_".join(words[:n]) for n in range(1, len(words) + 1)]
    folder = root / path.parent
    return any(
        (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()
        for name in names
    )


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_of_pytest(name: str) -> bool:
    """Return whether a name that is imported is a test file or a conftest, or something within one."""
    inner = PurePosixPath(*name.split("."))
    return any(
        (path.name == "conftest" or path.name.startswith("test_"))
        and (ROOT / path).with_suffix(".py").is_file()
        for path in (inner, *inner.parents)
    )


def other_than_fixtures(source: str) -> list[str]:
    """Return the functions and classes of a conftest that are no fixtures and no hooks."""
    found = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
            is_fixture = any(text.startswith("pytest.fixture") for text in decorators)
            if not (is_fixture or node.name.startswith("pytest_")):
                found.append(node.name)
    return found


def test_every_test_lies_where_its_module_does():
    astray = {
        str(path)
        for path in below()
        if len(path.parts) > 1 and not is_across(path) and not has_module(path)
    }
    assert astray == set(EXCEPTIONS), "CONTRIBUTING.md says where a test lies"


@pytest.mark.parametrize("folder", ACROSS)
def test_what_contributing_lists_is_there_and_is_no_room_of_ours(folder):
    assert below(TESTS / folder)
    assert not list((ROOT / folder).glob("*.py"))


def test_the_list_is_found():
    assert len(ACROSS) >= 10


@pytest.mark.parametrize(
    ("path", "is_right"),
    [
        ("registry/test_queue.py", True),
        ("registry/test_blobs.py", True),
        ("registry/blobs/test_s3.py", True),
        ("service/intake/test_images_photos.py", True),
        ("registry/test_s3.py", False),
        ("registry/blobs/test_queue.py", False),
        ("registry/test_queues.py", False),
        ("service/client/test_client.py", False),
        ("nowhere/test_queue.py", False),
    ],
)
def test_a_test_that_lies_elsewhere_is_seen(path, is_right):
    assert has_module(PurePosixPath(path)) == is_right


def test_nothing_is_imported_from_tests_and_conftests():
    found = {
        f"{path}: {name}"
        for path in below(pattern="*.py")
        for name in imports_of(TESTS / path)
        if is_of_pytest(name)
    }
    assert not found, "what several files import is a module of its own"


def test_conftests_hold_fixtures():
    found = {
        str(path): names
        for path in below(pattern="conftest.py")
        if (names := other_than_fixtures((TESTS / path).read_text("utf-8")))
    }
    assert not found, "what is no fixture lies in a module"


@pytest.mark.parametrize(
    ("name", "is_theirs"),
    [
        ("tests.conftest.redis_server", True),
        ("tests.service.conftest", True),
        ("tests.test_mirror.below", True),
        ("tests.test_mirror", True),
        ("tests.waiting.test_me", False),
        ("tests.service.api.image_files", False),
        ("service.cli.testing.test_version", False),
    ],
)
def test_an_import_of_a_test_or_conftest_is_seen(name, is_theirs):
    assert is_of_pytest(name) == is_theirs


def test_a_helper_in_a_conftest_is_seen():
    fixture = "@pytest.fixture(scope='session')\ndef a(): pass\ndef pytest_configure(): pass\n"
    helpers = "class B: pass\n@cache\ndef c(): pass\nasync def d(): pass\n"
    assert other_than_fixtures(fixture + helpers) == ["B", "c", "d"]
