"""The command that runs all tests, on a few of its own: no part is forgotten, and none that runs nothing passes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.suite import MOST_PROCESSES, parts, read

ROOT = Path(__file__).parents[1]
TESTS = """
import pytest

def test_plain():
    pass

@pytest.mark.timed
@pytest.mark.xdist_group("attacks")
def test_timed():
    pass

@pytest.mark.gpu
def test_gpu():
    raise AssertionError
"""
SIDE_BY_SIDE, TIMED = "side-by-side", "timed"

pytestmark = pytest.mark.slow


def run(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Run the suite as `make test` does, with the tests in `text` only."""
    file = folder / "test_inner.py"
    file.write_text(text)
    reports = folder / "reports"
    reports.mkdir()
    command = [sys.executable, "-m", "tests.suite", "--reports", reports, "-p", "no:cacheprovider"]
    command += ["-c", ROOT / "pyproject.toml", "--rootdir", folder, file]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def ran(folder: Path) -> dict[str, list[str | None]]:
    """Return the names of the tests that each report is about."""
    return {
        file.stem: [case.get("name") for case in read(file).iter("testcase")]
        for file in (folder / "reports").glob("*.xml")
    }


def test_every_test_runs_once_and_those_of_time_apart(tmp_path: Path):
    done = run(tmp_path, TESTS)
    assert done.returncode == 0, done.stdout
    assert ran(tmp_path) == {SIDE_BY_SIDE: ["test_plain"], TIMED: ["test_timed"]}
    assert [line.split(",")[0] for line in done.stdout.splitlines()[-2:]] == [
        "side by side: passed; 1 tests",
        "timed: passed; 1 tests",
    ]


def test_a_part_that_fails_fails_all_and_does_not_keep_the_next_from_running(tmp_path: Path):
    done = run(tmp_path, TESTS.replace("    pass", "    raise AssertionError", 1))
    assert done.returncode == 1
    assert ran(tmp_path)[TIMED] == ["test_timed"]
    assert [line.split(";")[0] for line in done.stdout.splitlines()[-2:]] == [
        "side by side: FAILED (pytest ended with 1)",
        "timed: passed",
    ]


def test_a_part_that_runs_nothing_fails(tmp_path: Path):
    done = run(tmp_path, "def test_plain():\n    pass\n")
    assert done.returncode == 1
    assert "timed: FAILED (pytest ended with 5); 0 tests" in done.stdout


@pytest.mark.parametrize(("n_cores", "n"), [(1, (2, 1)), (2, (3, 2)), (3, (4, 2)), (16, (4, 2))])
def test_processes_fit_the_cores(n_cores: int, n: tuple[int, int]):
    assert tuple(part.n_processes for part in parts(n_cores, quick=False)) == n
    assert max(n) <= MOST_PROCESSES
