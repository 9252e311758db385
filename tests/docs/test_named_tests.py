"""The test files that documents and sources name are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("benchmarks", "docs", "migrations", "models", "registry", "service", "tests", "worker")
SOURCES = sorted(
    path
    for pattern in ("*.md", "*.py")
    for path in [
        *ROOT.glob(pattern),
        *(p for name in FOLDERS for p in (ROOT / name).rglob(pattern)),
    ]
) + [ROOT / name for name in ("pyproject.toml", "Makefile", ".ci/run")]
BELOW_TESTS = ROOT / "docs/security.md"
"""It names tests by their place below `tests/`, and says so."""
WITH_FOLDER = re.compile(r"(?<![\w/.-])tests/[\w/]*\w(?:\.\w+)?")
WITHOUT = re.compile(r"`([\w/]*test_\w+\.py)")
MADE_UP = {"tests/images", "tests/test_no_such.py"}
"""Of other projects, and in an example of what is refused."""


def named(path: Path, text: str) -> set[str]:
    """Return the paths, from the root of the tree, of the tests that a text names."""
    found = set(WITH_FOLDER.findall(text)) - MADE_UP
    if path == BELOW_TESTS:
        found |= {f"tests/{name}" for name in WITHOUT.findall(text)}
    return found


def test_what_is_named_is_there():
    found = {
        path.relative_to(ROOT).as_posix(): missing
        for path in SOURCES
        if path != Path(__file__)
        if (
            missing := {
                name for name in named(path, path.read_text("utf-8")) if not (ROOT / name).exists()
            }
        )
    }
    assert not found


@pytest.mark.parametrize("document", ["security.md", "reliability.md"])
def test_names_are_found(document):
    path = ROOT / "docs" / document
    assert len(named(path, path.read_text("utf-8"))) > 15


def test_a_name_that_is_wrong_is_seen():
    text = "See `tests/gone/test_it.py` and tests/waiting.py. `attacks/test_gone.py`, pillow/tests/images"
    assert named(ROOT / "README.md", text) == {"tests/gone/test_it.py", "tests/waiting.py"}
    assert "tests/attacks/test_gone.py" in named(BELOW_TESTS, text)
