"""The examples in the documents work, and print what the documents say. `...` there stands for anything."""

import contextlib
import doctest
import io
import re
import shlex

import pytest

from service.cli.main import main
from service.client import Filopodia

pytestmark = pytest.mark.slow

ADDRESS = "http://127.0.0.1:8000"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LOOSE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
CHECKER = doctest.OutputChecker()


def blocks(text):
    """Return the fenced blocks as (language, content, first line)."""
    return [
        (found[1], found[2], text.count("\n", 0, found.start(2)) + 1)
        for found in BLOCK.finditer(text)
    ]


def check(got, want, where):
    assert CHECKER.check_output(want, got, LOOSE), f"{where} prints\n{got}\nand not\n{want}"


@pytest.mark.parametrize("text", ["client.md"], indirect=True)
def test_python_examples(text, service):
    namespace = {"__name__": "examples"}
    printed, n_checked = "", 0
    try:
        for language, content, line in blocks(text):
            if language == "text":
                check(printed, content, f"the example before line {line}")
                n_checked += 1
            if language == "python":
                code = "\n" * (line - 1) + content.replace(ADDRESS, service)
                output = io.StringIO()
                with contextlib.redirect_stdout(output):
                    exec(compile(code, "docs/client.md", "exec"), namespace)  # noqa: S102
                printed = output.getvalue()
    finally:
        for value in namespace.values():
            if isinstance(value, Filopodia):
                value.close()
    assert n_checked >= 8


def run(command, monkeypatch):
    """Run a command line as a shell would, and return what it prints and its exit code."""
    monkeypatch.setattr("sys.argv", shlex.split(command))
    output = io.StringIO()
    with (
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return output.getvalue(), ended.value.code or 0


@pytest.mark.parametrize("text", ["command-line.md"], indirect=True)
def test_commands(text, service, monkeypatch):
    monkeypatch.setenv("FILOPODIA_URL", service)
    shown, code = set(), None
    for language, content, line in blocks(text):
        if language != "console":
            continue
        for example in re.split(r"^\$ ", content, flags=re.MULTILINE)[1:]:
            command, _, want = example.partition("\n")
            if command.startswith("echo $?"):
                assert str(code) == want.strip(), f"line {line}"
                continue
            got, code = run(command, monkeypatch)
            check(got, want, f"`{command}` of line {line}")
            shown.add(command.split()[1])
    assert {"learn", "predict", "history", "learners", "tasks", "versions", "keys"} <= shown
    assert {"predictions", "test"} <= shown
