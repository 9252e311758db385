"""`filopodia images`, `move-images`, `remove-images` and `undo`, against a service that learns."""

import json

import pytest

from tests.factories import write_images

TINY = ("--create", "--strategy", "artsy", "--backbone", "tiny")


@pytest.fixture
def run(run_as_admin, tmp_path):
    """Runs a command where birds knows herons and egrets."""
    run_as_admin.start_learning()
    write_images(tmp_path / "photos", {"egret": range(4), "heron": range(4)})
    code, output = run_as_admin("learn", "birds", str(tmp_path / "photos"), *TINY)
    assert code == 0, output
    return run_as_admin


def images(run, *arguments):
    code, output = run("images", "birds", *arguments, "--json")
    assert code == 0, output
    return {image["filename"]: image["id"] for image in json.loads(output)}


def test_images_are_moved_removed_and_put_back(run):
    herons = images(run, "heron")
    moved, removed = list(herons.items())[:2]
    code, output = run("move-images", "birds", "egret", moved[1])
    assert code == 0, output
    assert "Version 2 answers so." in output
    assert moved[0] in images(run, "egret")
    # What is told on the way goes to the other stream, which comes last here.
    output = run("remove-images", "birds", removed[1], "--json")[1]
    task, _ = json.JSONDecoder().raw_decode(output)
    assert task["status"] == "succeeded"
    assert images(run, "heron", "--removed") == {removed[0]: removed[1]}
    code, output = run("undo", "birds", task["id"])
    assert code == 0, output
    assert images(run, "--removed") == {}
    code, table = run("images", "birds", "egret")
    assert code == 0
    assert moved[1] in table
    assert "No such image." in run("images", "birds", "--removed")[1]


def test_what_is_refused_says_why(run):
    code, output = run("remove-images", "birds", *images(run, "heron").values())
    assert (code, "class-would-be-empty" in output) == (1, True)
    code, output = run("move-images", "birds", "dodo", *images(run, "heron").values())
    assert (code, "unknown-content" in output) == (1, True)
