"""`filopodia feedback` and `learn --from-feedback` against a service that listens on a port."""

import json

import pytest
from typer.testing import CliRunner

from service.cli.main import app as commands
from tests.factories import make_image


def test_what_was_wrong_is_said_and_learned(run, tmp_path):
    files = []
    for label in ("heron", "egret"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(4):
            (tmp_path / "photos" / label / f"{i}.png").write_bytes(make_image(label, i))
    for i in range(2):
        files.append(tmp_path / f"owl-{i}.png")
        files[-1].write_bytes(make_image("owl", i))
    learner = ("birds", "--create", "--strategy", "simplecil", "--backbone", "tiny")
    first = run("learn", *learner[:1], tmp_path / "photos", *learner[1:])
    assert first.exit_code == 0, first.output

    shown = run("predict", "birds", *files).output
    answer = json.loads(run("predict", "birds", *files, "--json").output)
    said = [run("feedback", answer["id"], "owl", "--index", i) for i in (0, 1)]
    again = run("feedback", answer["id"], "owl", "--json")
    (tmp_path / "heron.png").write_bytes(make_image("heron", 9))
    known = json.loads(run("predict", "birds", tmp_path / "heron.png", "--json").output)
    run("feedback", known["id"], "heron")
    learned = run("learn", "birds", "--from-feedback")
    right = json.loads(run("predict", "birds", files[0], "--json").output)

    assert f"{files[1]} (version 1)  prd_" in shown
    assert " --index 1" in shown
    assert answer["results"][1]["label"] in said[1].output
    assert "owl-1.png" in said[1].output
    assert [item["label"] for item in json.loads(again.output)["feedback"]] == ["owl", "owl"]
    assert learned.exit_code == 0, learned.output
    assert "2 pieces of feedback taken, 1 stay pending" in learned.output
    assert "--from-feedback --extend" in learned.output
    assert right["results"][0]["label"] == "owl"


def test_learning_needs_a_folder_or_feedback(run):
    refused = run("learn", "birds")
    assert refused.exit_code == 2
    assert "--from-feedback" in refused.output


def ask(run, file, label, index):
    """Ask about one image, and return the id of the answer."""
    file.write_bytes(make_image(label, index))
    return json.loads(run("predict", "birds", file, "--json").output)["id"]


def test_what_waits_is_listed_and_taken_back(run, known_birds, tmp_path):
    asked = ask(run, tmp_path / "a.png", "owl", 1)
    nothing = run("feedback", "--pending")
    run("feedback", asked, "owl")
    of_all, of_one = run("feedback", "--pending"), run("feedback", "--pending", "birds", "--json")
    taken = run("feedback", asked, "--withdraw")
    again = run("feedback", asked, "--withdraw", "--index", 0)

    assert "No feedback waits" in nothing.output
    assert asked in of_all.output
    assert "a.png" in of_all.output
    assert "owl" in of_all.output
    assert [(item["learner"], item["label"]) for item in json.loads(of_one.output)] == [
        ("birds", "owl")
    ]
    assert taken.exit_code == 0
    assert asked in " ".join(taken.output.split())
    assert "No feedback waits" in run("feedback", "--pending", "birds").output
    assert again.exception.code == "feedback-not-found"


def test_taking_back_one_of_several_images_leaves_the_others(run, known_birds, tmp_path):
    files = [tmp_path / f"{i}.png" for i in range(2)]
    for i, file in enumerate(files):
        file.write_bytes(make_image("owl", i))
    asked = json.loads(run("predict", "birds", *files, "--json").output)["id"]
    for i in range(2):
        run("feedback", asked, "owl", "--index", i)
    taken = json.loads(run("feedback", asked, "--withdraw", "--index", 1, "--json").output)
    left = json.loads(run("feedback", "--pending", "--json").output)
    assert taken == {"prediction": asked, "index": 1, "withdrawn": True}
    assert [item["index"] for item in left] == [0]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "--pending"),
        (["prd_12345678"], "LABEL"),
        (["--withdraw"], "Name a prediction"),
        (["prd_12345678", "owl", "--withdraw"], "leave LABEL out"),
        (["--pending", "--withdraw"], "Choose one"),
        (["--pending", "birds", "owl"], "name of a learner"),
        (["--pending", "--index", "1"], "name of a learner"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(arguments, reason):
    refused = CliRunner().invoke(commands, ["feedback", *arguments, "--key", "fil_x_y"])
    assert refused.exit_code == 2
    assert reason in " ".join(refused.output.replace("│", "").split())
