"""The command line on outputs that are closed, full, narrow, or of an encoding with few letters."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import pytest

from tests.waiting import wait_until

PRINTS = """
import sys
from service.cli import main, output
@main.app.command("printed")
def printed() -> None:
    if sys.argv[2] == "json":
        output.print_json({"label": "K\\u00fcken\\u00b7\\u65e5\\u672c"})
    else:
        output.print_table(["class", "accuracy"], [["K\\u00fcken " * 9, 1.0]] * int(sys.argv[2]), empty="none")
        for line in output.route_lines({"route": {"passes": 1, "synapses": [
            {"task": 1, "current": 0.9, "threshold": 0.5, "state": "functional"}]}}):
            output.make_console().print(line)
@main.app.command("read")
def read() -> None:
    open("not/there")
main.app.registered_commands[-2].context_settings = {"ignore_unknown_options": True, "allow_extra_args": True}
main.main()
"""


def run(redirect, *arguments, rows="1", **environment):
    command = [sys.executable, "-c", PRINTS, *(arguments or ("printed", rows))]
    return subprocess.run(
        ["bash", "-c", f'"$@" {redirect}', "-", *command],
        capture_output=True,
        env={name: text for name, text in os.environ.items() if name != "COLUMNS"} | environment,
        check=False,
    )


@pytest.mark.parametrize(
    ("environment", "encoding"),
    [
        ({"PYTHONIOENCODING": "ascii"}, "ascii"),
        ({"PYTHONIOENCODING": "latin-1"}, "latin-1"),
        ({"PYTHONIOENCODING": "cp1252"}, "cp1252"),
        ({"PYTHONIOENCODING": "utf-8"}, "utf-8"),
        ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, "ascii"),
    ],
    ids=str,
)
def test_every_encoding_gets_what_it_can_show(environment, encoding):
    done = run("", **environment)
    assert (done.returncode, done.stderr) == (0, b"")
    output = done.stdout.decode(encoding)
    assert ("Küken" if encoding != "ascii" else r"K\xfcken") in output
    assert ("≥" if encoding == "utf-8" else ">=") in output
    done = run("", "printed", "json", **environment)
    assert json.loads(done.stdout.decode(encoding)) == {"label": "Küken·日本"}


@pytest.mark.parametrize(
    ("redirect", "code", "says"),
    [
        (">&-", 0, b""),
        ("2>&-", 0, None),
        ("<&- >&- 2>&-", 0, b""),
        ("> /dev/full", 1, b"The output cannot be written: No space left on device.\n"),
        ("2> /dev/full", 0, None),
        ("> /dev/full 2>&1", 1, b""),
        ("| head -1; exit ${PIPESTATUS[0]}", 1, None),
    ],
)
@pytest.mark.parametrize("rows", ["1", "2000"])
def test_an_output_that_takes_nothing_ends_it_with_a_sentence_at_most(redirect, code, says, rows):
    if "head" in redirect and rows == "1":
        return  # All is written before anybody hangs up.
    done = run(redirect, rows=rows)
    assert done.returncode == code
    assert done.stderr == (says if says is not None and code else b"")
    if says is None:
        assert b"accuracy" in done.stdout


def test_a_file_that_is_not_there_is_no_fault_of_the_output():
    done = run("", "read")
    assert (done.returncode, done.stderr) == (1, b"not/there: No such file or directory.\n")


@pytest.mark.parametrize("columns", ["40", "1", "0", "x", "99999"])
def test_narrow_terminals_lose_nothing(columns):
    done = run("", COLUMNS=columns, NO_COLOR="1", TERM="dumb")
    assert done.returncode == 0
    output = done.stdout.decode()
    assert output.count("Küken") == 9
    assert "\x1b" not in output
    if columns == "40":
        assert max(map(len, output.splitlines()[:-2])) <= 40


@pytest.mark.slow
@pytest.mark.parametrize("redirect", ["2>&-", "> /dev/full 2>&1", "<&- >&- 2>&-"])
def test_the_service_goes_on_where_no_log_can_be_written(redirect):
    with tempfile.TemporaryDirectory(prefix="filopodia-test-") as folder:
        data = Path(folder) / "data"
        settings = {
            "FILOPODIA_PORT": "0",
            "FILOPODIA_MIN_FREE_BYTES": "0",
            "FILOPODIA_POLL_S": "0.1",
        }
        process = subprocess.Popen(
            [
                "bash",
                "-c",
                f'exec "$@" {redirect}',
                "-",
                sys.executable,
                "-m",
                "service.cli.main",
                "serve",
            ],
            env=os.environ | settings | {"FILOPODIA_DATA_DIR": str(data)},
        )
        try:
            wait_until((data / "service.json").exists, 120)
            url = json.loads((data / "service.json").read_text())["url"]
            headers = {"Authorization": f"Bearer {(data / 'admin.key').read_text().strip()}"}
            with httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
                for i in range(3):
                    body = {"name": f"birds-{i}", "strategy": "simplecil", "backbone": "tiny"}
                    # Each change is a line of the log.
                    assert client.post("/v1/learners", json=body).status_code == 201
                wait_until(lambda: client.get("/v1/workers").json()["items"], 60)
                wait_until(lambda: client.get("/readyz").status_code == 200, 60)
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait()
        assert code == 0
        # What the database's programs or the service had to say is in no file of the data directory.
        assert b"learners" not in (data / "postgres.lock").read_bytes()
