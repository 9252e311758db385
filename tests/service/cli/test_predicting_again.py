"""`filopodia predict-again`: stored images beside what was said before, and what another version changes."""

import csv
import io
import json

import pytest
from typer.testing import CliRunner

from service.cli.main import app as commands
from tests.factories import make_image, write_images
from tests.waiting import wait_until


@pytest.fixture
def later(run, known_birds, tmp_path):
    """The same learner, which has learned storks since."""
    write_images(tmp_path / "more", {"stork": range(6)})
    learned = run("learn", known_birds, tmp_path / "more")
    assert learned.exit_code == 0, learned.output
    return known_birds


@pytest.fixture
def ask(run, tmp_path):
    """Returns a function that asks version 1 about so many storks, and about one heron."""

    def run_it(n):
        folder = tmp_path / f"asked-{n}"
        write_images(folder, {"stork": range(40, 40 + n), "heron": range(40, 41)})
        asked = run("predict", "birds", folder, "--version", 1)
        assert asked.exit_code == 0, asked.output
        wait_until(lambda: len(stored(run)) == n + 1)

    return run_it


def stored(run):
    kept = json.loads(run("predictions", "birds", "--json").output)
    return [result for item in kept for result in item["results"]]


def flat(text):
    return " ".join(text.replace("│", " ").split())


def test_a_summary_first_and_then_what_changes(run, later, ask):
    ask(2)
    result = run("predict-again", later)
    assert result.exit_code == 0, result.output
    first, heading, *rows = result.stdout.splitlines()
    assert first == "3 images predicted again with version 2: 2 are answered otherwise."
    assert heading.split() == [
        *("file", "answered", "before", "answered", "now", "score", "prediction"),
    ]
    assert len(rows) == 2
    for row, name in zip(rows, ("40.png", "41.png"), strict=True):
        assert row.startswith(name)
        assert " stork" in row
        assert " prd_" in row
    same = run("predict-again", later, "--version", 1)
    assert "3 images predicted again with version 1: none is answered otherwise." in same.stdout


def test_of_many_changes_the_kinds_come_first_and_then_a_screenful(run, later, ask):
    ask(23)
    result = run("predict-again", later)
    lines = result.stdout.splitlines()
    assert "24 images predicted again with version 2: 23 are answered otherwise." in lines[0]
    kinds = lines[2 : lines.index("")]
    assert sum(int(line.split()[-1]) for line in kinds) == 23
    counts = [int(line.split()[-1]) for line in kinds]
    assert counts == sorted(counts, reverse=True)
    images = [line for line in lines if ".png" in line]
    assert len(images) == 20
    assert "... and 3 more: `filopodia job job_" in lines[-1]
    job = json.loads(run("jobs", later, "--json").output)[0]
    every = run("job", job["id"], "--changed").stdout
    assert len([line for line in every.splitlines() if ".png" in line]) == 23
    assert "more" not in every


def test_samples_stand_beside_what_they_are_taught_as(run, later):
    everything = json.loads(run("predict-again", later, "--samples", "--json").stdout)
    assert len(everything["results"]) == 18
    assert {item["before"]["label"] for item in everything["results"]} == {
        *("heron", "egret", "stork"),
    }
    kept_out = run("predict-again", later, "--samples", "--task", 1, "--split", "eval", "--json")
    assert json.loads(kept_out.stdout)["query"] == {"samples": {"split": "eval", "task": 1}}
    # Version 1 knows no stork: it answers all of them otherwise than they are taught.
    old = run("predict-again", later, "--samples", "--label", "stork", "--version", 1)
    assert old.exit_code == 0, old.output
    assert old.stdout.startswith(
        "6 images predicted again with version 1: 6 are answered otherwise than taught."
    )
    assert "taught as" in old.stdout


def test_what_is_asked_for_narrows_it_down(run, later, ask):
    ask(2)
    images = {f"{item['label']}": item for item in stored(run)}
    kept = json.loads(run("predictions", later, "--json").output)[0]
    run("feedback", kept["id"], "stork", "--index", 0)

    def found(*options):
        result = run("predict-again", later, *options, "--json")
        if "nothing-to-predict" in str(getattr(result.exception, "code", "")):
            return 0
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)["images"]["total"]

    n_unknown = sum(not item["known"] for item in stored(run))
    assert found() == 3
    assert found("--unknown") == n_unknown
    assert found("--feedback") == 1
    assert found("--no-feedback") == 2
    assert found("--since", "1h") == 3
    assert found("--since", "2999-01-01") == 0
    assert sum(found("--label", label) for label in images) == 3


def test_csv_has_what_was_said_before(run, later, ask):
    ask(1)
    table = run("predict-again", later, "--csv", "-")
    assert table.exit_code == 0, table.output
    changed = run("predict-again", later, "--csv", "-", "--changed")
    assert "2 images predicted again with version 2: 1 is answered otherwise." in table.stderr
    by_label = {row["label"]: row for row in csv.DictReader(io.StringIO(table.stdout))}
    assert (by_label["stork"]["changed"], by_label["heron"]["changed"]) == ("true", "false")
    assert by_label["stork"]["before_version"] == "1"
    assert by_label["stork"]["prediction"].startswith("prd_")
    assert [row["label"] for row in csv.DictReader(io.StringIO(changed.stdout))] == ["stork"]


def test_without_waiting_it_says_how_to_look(run, later, ask):
    ask(1)
    result = run("predict-again", later, "--no-wait")
    assert result.exit_code == 0, result.output
    job = json.loads(run("jobs", later, "--json").output)[0]
    assert f"`filopodia job {job['id']}`" in result.stdout


def test_nothing_that_fits_is_said_in_a_sentence(run_on_birds):
    code, said = run_on_birds("predict-again", "birds")
    assert code == 1
    assert "(nothing-to-predict)" in said
    assert "--samples" in said


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--samples", "--unknown"], "leave --samples out"),
        (["--samples", "--no-feedback"], "leave --samples out"),
        (["--task", "1"], "add --samples"),
        (["--split", "eval"], "add --samples"),
        (["--split", "validation"], "validation"),
        (["--since", "yesterday"], "2026-03-01"),
        (["--csv", "-", "--json"], "Choose one of"),
        (["--csv", "-", "--no-wait"], "leave --csv out"),
    ],
)
def test_wrong_use_is_said_without_a_service(options, reason):
    result = CliRunner().invoke(commands, ["predict-again", "birds", *options, "--key", "fil_x_y"])
    assert result.exit_code == 2
    assert reason in flat(result.output)


def test_no_terminal_obeys_a_name(run, later, tmp_path):
    (tmp_path / "a\x1b[2J.png").write_bytes(make_image("stork", 50))
    run("predict", later, tmp_path / "a\x1b[2J.png", "--version", 1)
    wait_until(lambda: stored(run))
    for more in ([], ["--json"], ["--csv", "-"]):
        result = run("predict-again", later, *more)
        assert result.exit_code == 0, result.output
        assert "\x1b" not in result.output
