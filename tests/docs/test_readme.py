"""What the README says under "Use it" works as it stands, line by line, in two terminals."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.waiting import wait_until

pytestmark = pytest.mark.slow

README = Path(__file__).parents[2] / "README.md"
ADDRESS = "localhost:8000"
WRAPPER = f"""#!/bin/sh
exec {sys.executable} -c 'from service.cli.entry import main; main()' "$@"
"""
PRELUDE = """
set -euo pipefail
curl() { command curl --silent --show-error --fail-with-body --noproxy '*' "$@"; }
"""
"""As in a shell that stops at the first line that fails; curl by itself takes a refusal for a success."""


def blocks():
    """Return the indented blocks of the section: the first terminal, the second one, and the same over HTTP."""
    section = README.read_text("utf-8").partition("\n## Use it\n")[2].partition("\n## ")[0]
    found = re.findall(r"(?:^    .*\n)+", section, re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in found]


@pytest.fixture
def home():
    """An empty folder as a fresh clone's, with the program on the path."""
    with tempfile.TemporaryDirectory(prefix="filopodia-readme-") as folder:
        program = Path(folder) / "bin" / "filopodia"
        program.parent.mkdir()
        program.write_text(WRAPPER)
        program.chmod(0o755)
        yield Path(folder)


@pytest.fixture
def environment(home):
    return os.environ | {
        "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
        "FILOPODIA_PORT": "0",
        "FILOPODIA_TORCH_THREADS": "1",
        "PYTHONPATH": ":".join(filter(None, [str(README.parent), *sys.path])),
    }


@contextlib.contextmanager
def running(command, home, environment):
    """Run the service as the first terminal does; yields where it is."""
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=home, env=environment, stdout=log, stderr=log
        )
    file = home / "filopodia-data" / "service.json"
    try:
        wait_until(lambda: file.exists() or process.poll() is not None, 240)
        assert process.poll() is None, (home / "log").read_text()
        yield json.loads(file.read_text())["url"]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0, (home / "log").read_text()


@pytest.mark.timeout(900)
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_every_line_works_in_two_terminals(home, environment):
    first, second, http = blocks()
    setup, serve = (line.partition("#")[0].strip() for line in first.splitlines())
    activation = "source .venv/bin/activate"
    assert (setup, serve) == (f"make setup && {activation}", "filopodia serve")
    assert second.splitlines()[0] == activation
    typed = second.replace(f"{activation}\n", "") + http
    assert "..." not in re.sub(r"#.*", "", typed)
    with running(serve, home, environment) as url:
        script = PRELUDE + typed.replace(ADDRESS, url.removeprefix("http://"))
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=home,
            env=environment,
            input=20 * "y\n",  # who types says yes when asked
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = done.stdout
    assert re.search(r"apple\.jpg \(version 1\).*\napple +\d", printed)
    assert re.search(r"leaf\.jpg .*\n.*looks like nothing learned so far", printed)
    assert "version 2" in printed
    assert "Version 3 is without it." in printed
    answer = json.loads(printed.splitlines()[-1])
    assert (answer["version"], answer["results"][0]["label"]) == (2, "banana")
