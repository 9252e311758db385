"""The command that runs all tests, on a few of its own: no part is forgotten, and none that runs nothing passes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.suite import parts, read, timed_files

ROOT = Path(__file__).parents[1]
TESTS = """
import pytest

def test_plain(subtests):
    with subtests.test(part=1):
        assert 1 == 1
    assert 2 == 2

@pytest.mark.timed(group="attacks and load")
def test_attack():
    pass

@pytest.mark.timed(group="faults")
def test_faults():
    pass

@pytest.mark.timed
def test_of_no_group():
    pass

@pytest.mark.gpu
def test_gpu():
    raise AssertionError
"""
pytestmark = pytest.mark.slow


def run(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Run the suite as `make test` does, with the tests in `text` only."""
    file = folder / "test_inner.py"
    file.write_text(text)
    reports = folder / "reports"
    reports.mkdir()
    command = [sys.executable, "-m", "tests.suite", "--reports", reports]
    command += ["-c", ROOT / "pyproject.toml", "--rootdir", folder, file]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def ran(folder: Path) -> dict[str, list[str | None]]:
    """Return the names of the tests that each report is about."""
    return {
        file.stem: [case.get("name") for case in read(file).iter("testcase")]
        for file in (folder / "reports").glob("*.xml")
    }


def ends(done: subprocess.CompletedProcess[str], n: int = 3) -> list[str]:
    """Return what is said of each part, in so many lines, without how long it took."""
    return [line.split(", 0 skipped")[0] for line in done.stdout.splitlines()[-n:]]


def test_every_test_runs_once_and_those_of_time_apart(tmp_path: Path):
    done = run(tmp_path, TESTS)
    assert done.returncode == 0, done.stdout
    assert ran(tmp_path) == {
        "side-by-side": ["test_plain"],
        "attacks-and-load": ["test_attack"],
        "faults": ["test_faults", "test_of_no_group"],
    }
    assert ends(done) == [
        "side by side: passed; 1 tests, 0 failures, 0 errors",
        "attacks and load: passed; 1 tests, 0 failures, 0 errors",
        "faults: passed; 2 tests, 0 failures, 0 errors",
    ]


def test_a_part_that_fails_fails_all_and_does_not_keep_the_next_from_running(tmp_path: Path):
    done = run(tmp_path, TESTS.replace("2 == 2", "2 == 3"))
    assert done.returncode == 1
    assert ends(done, 4) == [
        "side by side: FAILED (pytest ended with 1); 1 tests, 1 failures, 0 errors",
        "side by side, again alone: FAILED (pytest ended with 1); 1 tests, 1 failures, 0 errors",
        "attacks and load: passed; 1 tests, 0 failures, 0 errors",
        "faults: passed; 2 tests, 0 failures, 0 errors",
    ]


UNSTEADY = """
from pathlib import Path

import pytest

@pytest.fixture
def is_alone(request):
    return not hasattr(request.config, "workerinput")

@pytest.fixture
def cleaned_up(is_alone):
    yield
    assert is_alone

def test_steady():
    pass

@pytest.mark.parametrize("n", range(N_UNSTEADY))
def test_unsteady(n, is_alone):
    assert is_alone

def test_cleaned_up(cleaned_up):
    pass

@pytest.mark.timed(group="attacks and load")
def test_attack():
    assert is_second("attack")

@pytest.mark.timed
def test_faults():
    assert is_second("faults")

def is_second(name):
    remembered = Path(FOLDER) / name
    return remembered.exists() or remembered.mkdir()
"""


def unsteady(folder: Path, n: int) -> str:
    text = UNSTEADY.replace("N_UNSTEADY", str(n))
    return text.replace("FOLDER", repr(str(folder)))


def test_a_few_that_fail_beside_others_and_pass_alone_are_named(tmp_path: Path):
    (tmp_path / "faults").mkdir()
    done = run(tmp_path, unsteady(tmp_path, 2))
    assert done.returncode == 0, done.stdout
    assert ends(done, 9) == [
        "side by side: passed; 4 tests, 2 failures, 1 errors",
        "side by side, again alone: passed; 3 tests, 0 failures, 0 errors",
        "UNSTEADY, to be mended: test_inner::test_cleaned_up",
        "UNSTEADY, to be mended: test_inner::test_unsteady[0]",
        "UNSTEADY, to be mended: test_inner::test_unsteady[1]",
        "attacks and load: passed; 1 tests, 1 failures, 0 errors",
        "attacks and load, again alone: passed; 1 tests, 0 failures, 0 errors",
        "UNSTEADY, to be mended: test_inner::test_attack",
        "faults: passed; 1 tests, 0 failures, 0 errors",
    ]
    assert "test_steady" not in ran(tmp_path)["side-by-side-again-alone"]


def test_many_that_fail_and_the_faults_are_not_run_again(tmp_path: Path):
    (tmp_path / "attack").mkdir()
    done = run(tmp_path, unsteady(tmp_path, 3))
    assert done.returncode == 1
    assert [line.partition(";")[0] for line in ends(done)] == [
        "side by side: FAILED (pytest ended with 1)",
        "attacks and load: passed",
        "faults: FAILED (pytest ended with 1)",
    ]


def test_a_part_that_runs_nothing_fails_and_what_it_says_is_printed(tmp_path: Path):
    done = run(tmp_path, TESTS.partition('@pytest.mark.timed(group="faults')[0])
    assert done.returncode == 1
    assert ends(done)[-1] == ("faults: FAILED (pytest ended with 5); 0 tests, 0 failures, 0 errors")
    assert "2 deselected" in done.stdout


def test_timed_tests_are_looked_for_where_they_are_marked():
    files = timed_files()
    assert {"tests/chaos/test_chaos.py", "tests/attacks/test_logins.py"} <= {*files}
    assert len(files) < 30
    assert parts(2, quick=False)[1][0].command(Path("x"), [])[-len(files) :] == [*files]
    assert files[0] not in parts(2, quick=False)[1][0].command(Path("x"), ["tests/worker"])


@pytest.mark.parametrize(("n_cores", "n", "n_turns"), [(1, 2, 3), (2, 3, 2), (16, 4, 2)])
def test_processes_fit_the_cores(n_cores: int, n: int, n_turns: int):
    turns = parts(n_cores, quick=False)
    assert turns[0][0].options[:2] == ("-n", str(n))
    assert len(turns) == n_turns
    assert sum(map(len, turns)) == 3


def test_what_ran_alone_is_not_run_again():
    assert all(part.alone is None for turn in parts(1, quick=False)[1:] for part in turn)
