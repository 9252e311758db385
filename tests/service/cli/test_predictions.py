"""`filopodia predictions`: what was answered, and what is looked for in it."""

import json

import pytest
from typer.testing import CliRunner

from service.cli.main import app as commands
from tests.factories import make_image, write_images


def rows(result):
    """Return the lines of the table as lists of words."""
    assert result.exit_code == 0, result.output
    return [line.split() for line in result.output.splitlines() if line.startswith("prd_")]


def test_what_was_answered_is_listed_newest_first(run, known_birds, tmp_path):
    nothing = run("predictions", known_birds)
    write_images(tmp_path / "asked", {"heron": range(10, 12), "egret": range(10, 11)})
    run("predict", known_birds, tmp_path / "asked")
    (tmp_path / "alone.png").write_bytes(make_image("heron", 20))
    alone = json.loads(run("predict", known_birds, tmp_path / "alone.png", "--json").output)["id"]
    run("feedback", alone, "egret")
    run("rename-class", known_birds, "heron", "Grey heron")

    every = run("predictions", known_birds)
    files = [row[4] for row in rows(every)]
    herons = [
        rows(run("predictions", known_birds, "--label", name)) for name in ("heron", "Grey heron")
    ]
    egrets = rows(run("predictions", known_birds, "--label", "egret"))
    stored = json.loads(run("predictions", known_birds, "--json").output)

    assert "Nothing was asked yet" in nothing.output
    assert files == ["alone.png", "10.png", "10.png", "11.png"]
    assert "egret (waits)" in every.output
    assert [len(found) for found in herons] == [3, 3]
    assert ["10.png" in row for row in egrets] == [True]
    assert [len(item["results"]) for item in stored] == [1, 3]
    assert len(rows(run("predictions", known_birds, "--limit", 2))) == 2
    assert len(rows(run("predictions", known_birds, "--since", "1h"))) == 4
    assert (
        "Nothing was answered that fits"
        in run("predictions", known_birds, "--since", "2999-01-01").output
    )


def test_only_what_looks_like_nothing_learned(run, known_birds, tmp_path):
    write_images(tmp_path / "asked", {"heron": range(1, 2), "something else": range(8)})
    run("predict", known_birds, tmp_path / "asked", "--json")
    stored = json.loads(run("predictions", known_birds, "--json").output)
    unknown = [item for item in stored[0]["results"] if not item["known"]]
    assert len(rows(run("predictions", known_birds, "--unknown"))) == len(unknown)
    assert len(unknown) > 0


@pytest.mark.parametrize("since", ["yesterday", "2", "2026-99-99"])
def test_a_time_that_is_none_is_refused(since):
    refused = CliRunner().invoke(
        commands, ["predictions", "birds", "--since", since, "--key", "fil_x_y"]
    )
    assert refused.exit_code == 2
    assert "2026-03-01" in refused.output
