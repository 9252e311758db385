"""Tests that are cut short, in a test run of their own: those after them must not notice."""

import functools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.pace import VARIABLE
from tests.processes import is_alive
from tests.waiting import wait_until

ROOT = Path(__file__).parents[1]
HEAD = """
import gc, socket, subprocess, sys, tempfile, threading, time
from pathlib import Path

import psycopg
import pytest
import pytest_timeout
from registry.postgres.embedded import EmbeddedPostgres
from sqlalchemy import create_engine, text

SLEEPER = [sys.executable, "-c", "import time; time.sleep(100_000)"]
PIDS = Path(__file__).with_name("pids")


def note(pid):
    with PIDS.open("a") as file:
        file.write(f"{pid}\\n")


def cut_short(request, after_s=0.5):
    # Have the limit of this test come now, however long it took until here.
    settings = pytest_timeout._get_item_settings(request.node)._replace(timeout=after_s)
    request.config.pluginmanager.get_plugin("isolation").pytest_timeout_set_timer(request.node, settings)


def sleeper(**options):
    process = subprocess.Popen(SLEEPER, **options)
    note(process.pid)
    return process
"""
CUT_SHORT = """
def test_cut_short(postgres, request):
    child = sleeper()
    # One that has left our session, and one whose parent is dead.
    apart = sleeper(start_new_session=True)
    code = f"import subprocess; print(subprocess.Popen({SLEEPER!r}, stdout=subprocess.DEVNULL).pid)"
    note(int(subprocess.run([sys.executable, "-c", code], stdout=-1).stdout))
    server = EmbeddedPostgres(Path(tempfile.mkdtemp(prefix="filopodia-test-")))
    server.start()
    note(server.pid)
    connection = psycopg.connect(postgres.url)
    connection.execute("CREATE TABLE IF NOT EXISTS held (n int)")
    connection.commit()
    connection.execute("LOCK TABLE held IN ACCESS EXCLUSIVE MODE")
    engine = create_engine(postgres.url.replace("postgresql:", "postgresql+psycopg:"))
    opened = engine.connect()
    listener = socket.create_server(("127.0.0.1", 0))
    file = Path(__file__).open()
    ring = [connection, opened, listener, file]
    ring.append(ring)
    HANG


def test_lock_is_free(postgres):
    with psycopg.connect(postgres.url) as connection:
        connection.execute("SET lock_timeout = '1s'")
        connection.execute("CREATE TABLE IF NOT EXISTS held (n int)")
        connection.execute("LOCK TABLE held IN ACCESS EXCLUSIVE MODE")


def test_nothing_is_collected_here():
    gc.collect()
"""
HANGS = {
    "a process": "cut_short(request); child.wait()",
    "a lock": "cut_short(request); threading.Event().wait()",
    "a failure": "raise AssertionError",
}


def start(folder: Path, text: str) -> subprocess.Popen[str]:
    """Start a run of the tests in `text`, with all that the tests of this tree have."""
    file = folder / "test_inner.py"
    file.write_text(HEAD + text)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    command += ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder), str(file), "-v"]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {VARIABLE: "1"},
        start_new_session=True,
        # Whoever started us in the background may have had us ignore it.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def run(folder: Path, text: str) -> str:
    """Run the tests in `text` and return what pytest said, once no process that they noted is left."""
    with start(folder, text) as process:
        assert process.stdout is not None
        output = process.stdout.read()
    assert left(folder) == []
    return output


def left(folder: Path) -> list[int]:
    pids = [int(line) for line in (folder / "pids").read_text().split()]
    return [pid for pid in pids if is_alive(pid)]


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.parametrize("hang", HANGS)
def test_what_a_test_that_is_cut_short_held_does_not_reach_the_others(tmp_path: Path, hang: str):
    output = run(tmp_path, CUT_SHORT.replace("HANG", HANGS[hang]))
    assert "1 failed, 2 passed" in output, output
    assert "error" not in output.splitlines()[-1], output
    assert ("Timeout" in output) == (hang != "a failure"), output


@pytest.mark.slow
@pytest.mark.chaos
def test_a_teardown_that_hangs_after_a_failure_is_cut_short_too(tmp_path: Path):
    text = """
@pytest.fixture
def hangs():
    note(sleeper().pid)
    yield
    time.sleep(100_000)

@pytest.mark.timeout(3)
def test_fails(hangs):
    raise AssertionError


def test_next():
    pass
"""
    assert "1 failed, 1 passed, 1 error" in run(tmp_path, text)


@pytest.mark.slow
def test_what_a_test_that_passes_leaves_is_its_own_fault(tmp_path: Path):
    text = """
def test_leaves_a_process():
    child = sleeper()
    child.returncode = 0  # so that nothing else tells of it

def test_leaves_a_file():
    ring = [Path(__file__).open()]
    ring.append(ring)

@pytest.fixture(scope="module")
def lasting():
    child = sleeper()
    yield child
    child.kill()
    child.wait()

def test_uses_a_fixture_that_lasts(lasting):
    assert lasting.poll() is None

def test_uses_it_too(lasting):
    assert lasting.poll() is None
    gc.collect()
"""
    output = run(tmp_path, text)
    assert "4 passed, 2 errors" in output, output
    for test, what in (
        ("a_process", "processes left by this test"),
        ("a_file", "left by this test"),
    ):
        output = output.partition(f"ERROR at teardown of test_leaves_{test}")[2]
        assert output.partition("AssertionError: ")[2].startswith(what), output


@pytest.mark.slow
@pytest.mark.chaos
def test_ctrl_c_leaves_no_process(tmp_path: Path):
    process = start(tmp_path, CUT_SHORT.replace("HANG", "threading.Event().wait()"))
    wait_until(lambda: len(noted(tmp_path)) == 4 or process.poll() is not None)
    os.kill(process.pid, signal.SIGINT)
    said, _ = process.communicate()
    assert "! KeyboardInterrupt !" in said, said
    assert "failed" not in said.splitlines()[-1], said
    assert left(tmp_path) == []


def noted(folder: Path) -> list[str]:
    file = folder / "pids"
    return file.read_text().split() if file.exists() else []
