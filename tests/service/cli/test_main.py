"""The command line as a user meets it, as a process of its own."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli.main import Commands, app
from tests.waiting import wait_until


def run(*arguments, cwd, **environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("FILOPODIA_")}
    return subprocess.run(
        [sys.executable, "-m", "service.cli.main", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=clean | environment | {"PYTHONPATH": str(Path.cwd())},
        check=False,
    )


def test_help_names_every_command(tmp_path):
    result = run("--help", cwd=tmp_path)
    assert result.returncode == 0
    for command in ("serve", "learn", "predict", "history", "tasks", "publish", "delete", "demo"):
        assert command in result.stdout


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["learn"], ["predict", "birds", "missing.jpg"], ["learners"]]
)
def test_wrong_use_exits_with_2(arguments, tmp_path):
    assert run(*arguments, cwd=tmp_path).returncode == 2


def test_a_service_that_does_not_answer_exits_with_1(tmp_path):
    result = run(
        "learners", cwd=tmp_path, FILOPODIA_URL="http://127.0.0.1:9", FILOPODIA_KEY="fil_a_b"
    )
    assert result.returncode == 1
    assert "is the service running?" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_folder_without_labels_exits_with_2(tmp_path):
    (tmp_path / "photos").mkdir()
    result = run("learn", "birds", "photos", "--key", "fil_a_b", cwd=tmp_path)
    assert result.returncode == 2
    assert "There is no image" in result.stderr


def test_config_must_be_a_json_object(tmp_path):
    (tmp_path / "photos").mkdir()
    result = run("learn", "birds", "photos", "--config", "[1]", "--key", "k", cwd=tmp_path)
    assert result.returncode == 2


DATABASE = {"sqlalchemy", "alembic", "psycopg", "redis"}
CORE = {"torch", "timm", "sklearn", "numpy", "PIL", "fastapi", "plotly", "celery"}


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["--version"], CORE | DATABASE | {"httpx", "pydantic_settings"}),
        (["--help"], CORE | DATABASE | {"httpx", "pydantic_settings"}),
        (["predict", "--help"], CORE | DATABASE | {"pydantic_settings"}),
        (["learn", "--help"], CORE | DATABASE | {"pydantic_settings"}),
        (["keys", "create", "--help"], CORE | DATABASE | {"pydantic_settings"}),
        (["serve", "--help"], CORE | DATABASE),
    ],
)
def test_a_command_loads_what_it_works_with_and_no_more(arguments, unwanted, tmp_path):
    code = (
        "import sys\n"
        "from service.cli.main import main\n"
        f"sys.argv = ['filopodia', *{arguments}]\n"
        "try: main()\n"
        f"finally: print('LOADED', *({unwanted} & set(sys.modules)))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].split() == ["LOADED"]


def test_the_version_is_that_of_the_package(tmp_path):
    result = run("--version", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, f"filopodia {version('filopodia')}\n")


@pytest.mark.parametrize("listed", Commands.listed, ids=lambda listed: listed.name)
def test_every_listed_command_is_there_and_explains_itself(listed):
    short = CliRunner().invoke(app, [listed.name, "-h"])
    long = CliRunner().invoke(app, [listed.name, "--help"])
    assert (short.exit_code, long.exit_code) == (0, 0), long.output
    assert short.output == long.output
    assert f"filopodia {listed.name}" in long.output or f"root {listed.name}" in long.output
    assert len(listed.summary) <= 60


def test_a_command_that_is_nearly_right_is_suggested():
    result = CliRunner().invoke(app, ["predictt"])
    assert result.exit_code == 2
    assert "'predict'" in result.output


def completed(*words, **environment):
    """Return what bash is offered for the last of the words."""
    variables = {
        "_FILOPODIA_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("filopodia", *words)),
        "COMP_CWORD": str(len(words)),
    }
    result = CliRunner().invoke(app, prog_name="filopodia", env=variables | environment)
    return result.output.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["predic"], ["predict", "predict-again", "predictions"]),
        (["keys", ""], ["create", "list", "limit", "revoke"]),
        (["feedback", "--with"], ["--withdraw"]),
        (["nonsense", ""], None),
    ],
)
def test_tab_completes_commands_and_options(words, offered):
    found = completed(*words)
    assert found == offered if offered is not None else "Traceback" not in found


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "nonsense", "http://[::1", "http://a b", ""])
def test_tab_is_silent_about_a_service_that_does_not_answer(url, tmp_path):
    data = str(tmp_path)
    assert completed("predict", "", FILOPODIA_URL=url, FILOPODIA_DATA_DIR=data) == []
    assert completed("predict", "", FILOPODIA_URL=url, FILOPODIA_KEY="fil_a_b") == []


def test_tab_completes_learners(known_birds, address, role_keys):
    service = {"FILOPODIA_URL": address, "FILOPODIA_KEY": role_keys["reader"]}
    # A service that is busy right now is not waited for: the next press may find it idle.
    wait_until(lambda: completed("predict", "b", **service) == [known_birds])
    wait_until(lambda: completed("tasks", "", **service) == [known_birds])
    assert completed("predict", "x", **service) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_installed_for_the_shell_that_is_named_or_logged_in_with(shell, tmp_path):
    environment = {"HOME": str(tmp_path), "SHELL": f"/usr/bin/{shell}"}
    shown = CliRunner().invoke(app, ["--show-completion"], prog_name="filopodia", env=environment)
    for arguments in (["--install-completion", shell], ["--install-completion"]):
        result = CliRunner().invoke(app, arguments, prog_name="filopodia", env=environment)
        assert result.exit_code == 0, result.output
    scripts = [file.read_text() for file in tmp_path.rglob("*filopodia*") if file.is_file()]
    assert scripts == [shown.output] or scripts == [shown.output.rstrip("\n")]
    assert "_FILOPODIA_COMPLETE" in shown.output


def test_the_script_for_bash_completes_in_bash(tmp_path):
    program = tmp_path / "filopodia"
    program.write_text(f"#!{sys.executable}\nfrom service.cli.main import main\nmain()\n")
    program.chmod(0o755)
    script = CliRunner().invoke(app, ["--show-completion", "bash"], prog_name="filopodia").output
    (tmp_path / "script").write_text(script)
    code = (
        "source script; COMP_WORDS=(filopodia export --for); COMP_CWORD=2; "
        "_filopodia_completion filopodia; echo ${COMPREPLY[@]}"
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    result = subprocess.run(
        ["bash", "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(Path.cwd())},
        check=False,
    )
    assert result.stdout.split() == ["--force"], result.stderr


def test_an_unknown_shell_and_none_are_refused():
    for environment in ({"SHELL": "/bin/tcsh"}, {"SHELL": ""}):
        assert CliRunner().invoke(app, ["--install-completion"], env=environment).exit_code == 2
    assert CliRunner().invoke(app, ["--install-completion", "tcsh"]).exit_code == 2
