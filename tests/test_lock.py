"""The versions that are tested, with their hashes: all that is declared is there, and nothing of where it was made."""

import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.declared import EXTRAS, ROOT, requirements

LOCKS = {
    "requirements.lock": ["mqtt", "s3"],
    "requirements-dev.lock": EXTRAS,
}
"""Each with the extras in it."""
ADVICE = "run `make lock`"
ENTRY = re.compile(
    r"(?m)^(?P<requirement>\S+==[^\\\n]+?) \\\n(?P<hashes>(?:    --hash=\S+(?: \\)?\n)+)"
)


def locked(lock: str) -> list[tuple[Requirement, str]]:
    text = (ROOT / lock).read_text()
    return [(Requirement(found["requirement"]), found["hashes"]) for found in ENTRY.finditer(text)]


def versions(lock: str) -> dict[str, set[Version]]:
    """Return what is locked; where systems or Pythons differ, a package has several versions."""
    found: dict[str, set[Version]] = {}
    for requirement, _ in locked(lock):
        (exactly,) = requirement.specifier
        found.setdefault(canonicalize_name(requirement.name), set()).add(Version(exactly.version))
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_what_is_declared_is_locked_as_it_may_be(lock):
    there = versions(lock)
    for requirement in requirements(*LOCKS[lock]):
        found = there.get(canonicalize_name(requirement.name), set())
        assert found, f"{requirement} is not in {lock}: {ADVICE}"
        unfit = [version for version in found if version not in requirement.specifier]
        assert unfit == [], f"{lock} does not fit {requirement}: {ADVICE}"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_entry_is_exact_and_has_hashes(lock):
    text = (ROOT / lock).read_text()
    entries = locked(lock)
    lines = [line for line in text.splitlines() if line and line[0] not in " #"]
    assert len(entries) == len(lines)
    for requirement, hashes in entries:
        (exactly,) = requirement.specifier
        assert exactly.operator == "=="
        assert re.fullmatch(r"(    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", hashes), requirement


def test_the_image_gets_what_is_tested():
    image, tested = (versions(lock) for lock in LOCKS)
    assert {name: tested.get(name) for name in image} == image


@pytest.mark.parametrize("lock", LOCKS)
def test_it_names_no_index_host_or_place(lock):
    text = (ROOT / lock).read_text()
    assert re.findall(r"(?m)://|^-|^\s+-(?!-hash)|--index|--find-links|(?:^|\s)/\S+", text) == []


def test_ci_and_the_image_install_it():
    assert "make setup-locked\n" in (ROOT / ".ci/run").read_text()
    assert "--requirement requirements-dev.lock" in (ROOT / "Makefile").read_text()
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "COPY requirements.lock" in dockerfile
    assert "--require-hashes --requirement /requirements.lock" in dockerfile
    assert "!requirements.lock" in (ROOT / ".dockerignore").read_text().splitlines()
