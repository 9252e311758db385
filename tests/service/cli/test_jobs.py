"""`filopodia jobs`, `job`, and what `cancel` and `delete` do with a prediction job."""

import io
import json
import os
import re
import sys
import zipfile

import pytest

from service.client import Filopodia
from tests.factories import make_image
from tests.service.second_runner import second_runner


@pytest.fixture
def run(run_on_birds):
    return run_on_birds


def listed(run):
    return json.loads(run("jobs", "birds", "--json")[1])


def test_they_are_listed_newest_first(run):
    assert run("jobs", "birds")[1].strip() == "No prediction job yet."
    assert run("predict-again", "birds", "--samples", "--split", "train")[0] == 0
    assert run("predict-again", "birds", "--samples")[0] == 0
    code, table = run("jobs", "birds")
    heading, *rows = table.splitlines()
    assert code == 0
    assert heading.split()[-5:] == ["version", "status", "done", "changed", "error"]
    assert [row.split()[0] for row in rows] == [job["id"] for job in listed(run)]
    assert " tasks " in rows[0]
    assert "succeeded  12 of 12" in rows[0]
    assert len(run("jobs", "birds", "--limit", 1)[1].splitlines()) == 2


def test_one_is_shown_with_its_labels(run):
    run("predict-again", "birds", "--samples", "--task", 1)
    job = listed(run)[0]
    code, shown = run("job", job["id"])
    assert code == 0, shown
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "of birds, version 1" in lines
    assert "images 12 images of tasks (task 1)" in lines
    assert "status succeeded" in lines
    assert "label images" in lines
    assert {"egret 6", "heron 6"} <= set(lines)
    assert (
        "12 images predicted again with version 1: none is answered otherwise than taught." in lines
    )
    assert json.loads(run("job", job["id"], "--json")[1]) == job
    every = json.loads(run("job", job["id"], "--json", "--images")[1])
    assert [len(every["results"]), every["id"]] == [12, job["id"]]
    assert json.loads(run("job", job["id"], "--json", "--changed")[1])["results"] == []
    assert len(run("job", job["id"], "--csv", "-")[1].splitlines()) == 13
    table = run("job", job["id"], "--images")[1]
    assert "taught as" in table
    assert table.count(".png") == 12


def test_it_is_watched_unless_that_is_not_wanted(run, app):
    app.state.context.jobs.stop()
    run("predict-again", "birds", "--samples", "--no-wait")
    job = listed(run)[0]
    code, shown = run("job", job["id"], "--no-wait")
    assert code == 0
    assert "queued: 0.0% done" in shown
    assert run("cancel", job["id"]) == (
        0,
        f"{job['id']} of birds is cancelled, 0 of 12 images done\n",
    )
    code, shown = run("job", job["id"])
    assert code == 1
    assert "0 of 12 images done, cancelled" in shown
    code, refused = run("cancel", job["id"])
    assert (code, "(prediction-job-ended)" in refused) == (1, True)
    assert "`filopodia job JOB` says how it ended." in refused


def test_it_is_cancelled_as_json(run, app):
    app.state.context.jobs.stop()
    run("predict-again", "birds", "--samples", "--no-wait")
    cancelled = json.loads(run("cancel", listed(run)[0]["id"], "--json")[1])
    assert cancelled["status"] == "cancelled"


def test_what_is_deleted_before_its_turn_is_named(run, app):
    runner = second_runner(app)
    code, posted = run("predict-again", "birds", "--samples", "--no-wait", "--json")
    with Filopodia(os.environ["FILOPODIA_URL"], os.environ["FILOPODIA_KEY"]) as client:
        client.drop_samples(client.tasks("birds")[0].id)
    runner.start()
    try:
        code, shown = run("job", json.loads(posted)["id"])
    finally:
        runner.stop()
    assert code == 1
    assert "none is answered otherwise than taught, 12 could not be predicted." in shown
    assert "Could not be predicted: 12." in shown
    assert len(re.findall(r"^  \S+\.png: The image", shown, re.MULTILINE)) == 10, shown
    assert "... and 2 more" in shown


def test_it_is_deleted_once_that_is_confirmed(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    run("predict-again", "birds", "--samples")
    job = listed(run)[0]["id"]
    code, said = run("delete", job)
    assert code == 2
    asked = f"Delete {job} with its answers about 12 images of birds for good?"
    assert asked in " ".join(said.split())
    assert run("delete", job, "--yes") == (0, f"deleted {job}\n")
    code, gone = run("job", job)
    assert (code, "(prediction-job-not-found)" in gone) == (1, True)
    assert "`filopodia jobs NAME` shows the ids." in gone
    assert "birds" in run("learners")[1]


def test_what_makes_no_sense_is_refused(run, tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("a.png", make_image("heron", 30))
    assert run("predict", "birds", "photos.zip")[0] == 0
    job = listed(run)[0]["id"]
    assert run("job", job, "--images", "--changed")[0] == 2
    assert run("job", job, "--csv", "-", "--json")[0] == 2
    code, refused = run("job", job, "--changed")
    assert (code, "These images were sent" in refused) == (2, True)
    code, unknown = run("job", "seven")
    assert code == 1
    assert "JOB: An id is" in unknown
