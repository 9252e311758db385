"""Commands against a service that listens on a port, with a learner of tasks beside it."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from service.cli.main import app as commands
from service.cli.main import main
from service.client import Filopodia
from tests.factories import write_images
from tests.served import learning, served
from tests.service.cli.terminals import Terminal
from tests.waiting import wait_until
from worker.settings import WorkerSettings

Run = Callable[..., Any]


@pytest.fixture
def address(app, role_keys, session_factory, blobs, database_url, tmp_path) -> Iterator[str]:
    """Where a service listens that knows all keys; what is posted there is learned."""
    worker = WorkerSettings(data_dir=tmp_path, database_url=database_url, device="cpu")
    # The service's log is not what the commands print.
    with capture_logs(), served(app) as url, learning(session_factory, blobs, worker):
        yield url


@pytest.fixture
def run(address, role_keys) -> Run:
    """Returns a function that runs a command as a trainer."""
    options = ["--url", address, "--key", role_keys["trainer"]]

    def run_command(*arguments: object, **settings: object) -> Any:
        return CliRunner().invoke(commands, [*map(str, arguments), *options], **settings)

    return run_command


@pytest.fixture
def known_birds(run, tmp_path) -> str:
    """A learner that knows herons and egrets."""
    write_images(tmp_path / "learned", {"heron": range(6), "egret": range(6)})
    learner = ("birds", tmp_path / "learned", "--create", "--strategy", "simplecil")
    learned = run("learn", *learner, "--backbone", "tiny")
    assert learned.exit_code == 0, learned.output
    return "birds"


@pytest.fixture
def asked(address, role_keys):
    """Returns a function that waits for so many stored requests and says how many images each had, the oldest first."""

    def run(n):
        with Filopodia(address, role_keys["reader"]) as client:
            # They are stored soon after they are answered.
            stored = wait_until(
                lambda: len(replies := list(client.predictions("birds"))) >= n and replies
            )
            return [len(item["results"]) for item in reversed(stored)]

    return run


@pytest.fixture
def run_as_admin(
    app, role_keys, session_factory, blobs, database_url, tmp_path, monkeypatch, capsys
):
    """Returns a function that runs a command as an admin, and returns its exit code and what it prints."""
    worker = WorkerSettings(data_dir=tmp_path, database_url=database_url, device="cpu")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FILOPODIA_KEY", role_keys["admin"])

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["filopodia", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out + captured.err

    # The service's log is not what the commands print.
    with capture_logs(), served(app) as url, contextlib.ExitStack() as stack:
        monkeypatch.setenv("FILOPODIA_URL", url)
        run.start_learning = lambda: stack.enter_context(learning(session_factory, blobs, worker))
        yield run


@pytest.fixture
def run_on_birds(run_as_admin, tmp_path):
    """The same, where there is a learner birds that knows herons and egrets."""
    run_as_admin.start_learning()
    write_images(tmp_path / "learned", {"heron": range(6), "egret": range(6)})
    learner = ("birds", "learned", "--create", "--strategy", "simplecil", "--backbone", "tiny")
    code, said = run_as_admin("learn", *learner)
    assert code == 0, said
    return run_as_admin


@pytest.fixture
def terminal(tmp_path):
    """Returns a function that starts a command on a terminal, which ends with the test."""
    started = []

    def start(*arguments):
        started.append(Terminal(*arguments, cwd=tmp_path))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()
            os.close(each.leader)
