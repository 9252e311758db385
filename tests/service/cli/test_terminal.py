"""What the command line prints and writes of text from others: nothing that a terminal obeys or a spreadsheet runs."""

import csv
import json
import re

import pytest

from registry.samples import list_samples
from registry.tasks import list_tasks
from service.cli.output import print_json, print_table
from service.cli.terminal import harmless
from service.client import Filopodia
from tests.factories import make_image

OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
NAMES = {
    "=cmd()": "'=cmd()",
    "-1.png": "-1.png",
    "a\x1b[2J\x1b]0;owned\x07.png": "a\ufffd[2J\ufffd]0;owned\ufffd.png",
    "a\u202egnp.exe.png": "a\ufffdgnp.exe.png",
    "x;=1+1.png": "x;'=1+1.png",
    "two\nlines.png": "two\nlines.png",
}
"""Names of files, and how they stand in a table behind their folder."""


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, name in enumerate(NAMES):
        (folder / name).write_bytes(make_image("heron", 40 + i))
    return folder


@pytest.fixture
def formulas(address, role_keys, known_birds):
    """A learner with a class that is called like a formula."""
    with Filopodia(address, role_keys["admin"]) as client:
        client.update_class(known_birds, "heron", shown_name="=HYPERLINK(0)")
        client.update_class(known_birds, "egret", shown_name="@SUM(1;-2)")
    return known_birds


def test_no_terminal_obeys_the_name_of_a_file(run, known_birds, folder):
    for more in ([], ["--json"], ["--csv", "-"]):
        result = run("predict", known_birds, folder, *more)
        assert result.exit_code == 0, result.output
        assert OBEYED.search(result.output) is None, ascii(result.output)
    files = {
        item["file"]
        for item in json.loads(run("predict", known_birds, folder, "--json").output)["results"]
    }
    assert files == {str(folder / name) for name in NAMES}


def test_no_spreadsheet_runs_a_label_and_it_is_read_back(
    run, formulas, tmp_path, monkeypatch, session
):
    names = ["=cmd().png", "@a.png", "x;=1+1.png", "\uff0b1.png"]
    photos = tmp_path / "photos"
    photos.mkdir()
    monkeypatch.chdir(photos)
    for i, name in enumerate(names):
        (photos / name).write_bytes(make_image("heron" if i < 2 else "egret", 40 + i))
    table = tmp_path / "answers.csv"
    assert run("predict", formulas, *names, "--csv", table).exit_code == 0
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [
        "'=cmd().png",
        "'@a.png",
        "x;'=1+1.png",
        "'\uff0b1.png",
    ]
    assert {row["label"] for row in rows} == {"'=HYPERLINK(0)", "'@SUM(1;'-2)"}
    assert all(0 < float(row["score"]) <= 1 for row in rows)

    learned = (
        "learn",
        "again",
        photos,
        "--create",
        "--strategy",
        "simplecil",
        "--backbone",
        "tiny",
    )
    result = run(*learned, "--manifest", table, "--no-wait", "--yes")

    assert result.exit_code == 0, result.output
    [task] = list_tasks(session, learner_name="again").items
    assert set(task.classes) == {"=HYPERLINK(0)", "@SUM(1;-2)"}
    assert {sample.filename for sample in list_samples(session, task.id).items} == set(names)


def test_whatever_a_service_says_is_printed_as_text(capsys):
    said = "\x1b[2J\x9b31mred\u202e\u2066"
    print_table(("name",), [(said,)], empty="")
    print_json({said: said})
    printed = capsys.readouterr().out
    assert OBEYED.search(printed) is None
    assert json.loads(printed[printed.index("{") :]) == {said: said}
    assert harmless("plain \u0645\u06cc\u200c\u062e\n\t") == "plain \u0645\u06cc\u200c\u062e\n\t"
