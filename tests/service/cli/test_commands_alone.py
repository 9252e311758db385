"""The command line where `pip install filopodia` brought the client and nothing of the server."""

import json

import pytest

from service.cli.commands import LOCAL, OF_SERVER
from service.cli.main import Commands
from tests.alone import COMMAND_LINE, absent, run_alone
from tests.factories import make_image, write_images

ALL_HELP = """
import json, sys
from typer.testing import CliRunner
from service.cli.main import Commands, app

results = {}
for listed in Commands.listed:
    result = CliRunner().invoke(app, [listed.name, "--help"])
    results[listed.name] = [result.exit_code, type(result.exception).__name__, result.stdout]
print(json.dumps(results))
"""
LOCALS = [listed.name for listed in Commands.listed if listed.place.startswith(LOCAL)]


def test_every_command_for_a_service_elsewhere_explains_itself(tmp_path):
    result = run_alone(ALL_HELP, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert {name for name, (code, *_) in report.items() if code} == set(LOCALS)
    assert {kind for code, kind, _ in report.values() if code} == {"ServerMissingError"}
    assert "--create" in report["learn"][2]


def test_help_lists_all_commands(tmp_path):
    result = run_alone(COMMAND_LINE, "--help", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert all(f" {listed.name} " in result.stdout for listed in Commands.listed)


@pytest.mark.parametrize("name", LOCALS)
def test_a_command_that_needs_the_server_says_in_a_sentence_what_to_install(name, tmp_path):
    result = run_alone(COMMAND_LINE, name, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert " ".join(result.stderr.split()) == (
        f"filopodia {name} needs the server's packages, and here is the client alone: "
        "pip install 'filopodia[server]'."
    )


def test_tab_is_silent_about_what_is_missing(tmp_path):
    words = {
        "_FILOPODIA_COMPLETE": "complete_bash",
        "COMP_WORDS": "filopodia serve --",
        "COMP_CWORD": "2",
    }
    code = "import sys; sys.argv[0] = 'filopodia'; " + COMMAND_LINE
    assert run_alone(code, cwd=tmp_path, **words).stderr == ""


def test_it_learns_and_asks(address, role_keys, tmp_path):
    write_images(tmp_path / "photos", {"heron": range(6), "egret": range(6)})
    (tmp_path / "new.png").write_bytes(make_image("heron", 9))
    service = {"FILOPODIA_URL": address, "FILOPODIA_KEY": role_keys["trainer"]}
    options = ("--create", "--strategy", "simplecil", "--backbone", "tiny")
    learned = run_alone(COMMAND_LINE, "learn", "birds", "photos", *options, cwd=tmp_path, **service)
    assert learned.returncode == 0, learned.stderr
    asked = run_alone(
        COMMAND_LINE, "predict", "birds", "new.png", "--json", cwd=tmp_path, **service
    )
    assert asked.returncode == 0, asked.stderr
    assert "heron" in asked.stdout


def test_what_is_looked_for_is_missing_with_the_client_alone():
    assert set(OF_SERVER) <= absent()
