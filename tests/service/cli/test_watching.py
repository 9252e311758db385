"""`filopodia watch`: what comes into a folder is predicted once, or learned."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from service.client import Filopodia
from tests.factories import make_image, write_images
from tests.waiting import wait_until

QUICK = ("--settle", "0.1", "--every", "0.05")


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


@pytest.fixture
def watch(run, folder, known_birds):
    """Returns a function that takes what is there, and returns a record an image."""

    def take(*options, code=0):
        done = run("watch", folder, "--learner", known_birds, "--once", "--json", *QUICK, *options)
        assert done.exit_code == code, done.output
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    return take


def test_what_came_is_answered_once_also_after_another_start(watch, folder, asked):
    write_images(folder, {"some": range(20, 23)})
    (folder / "broken.png").write_bytes(b"no picture")
    found = watch()
    assert sorted(one["file"] for one in found) == [
        "broken.png",
        *(f"some/{i}.png" for i in (20, 21, 22)),
    ]
    [broken] = [one for one in found if one["problem"]]
    assert broken["file"] == "broken.png"
    assert {one["version"] for one in found if not one["problem"]} == {1}
    assert watch() == []
    (folder / "new.png").write_bytes(make_image("heron", 40))
    [one] = watch()
    assert (one["file"], one["label"]) == ("new.png", "heron")
    assert sum(asked(2)) == 5


@pytest.mark.parametrize("name", ["answers.csv", "answers.jsonl"])
def test_answers_are_appended_to_a_file(watch, folder, tmp_path, name):
    out = tmp_path / name
    for index in (30, 31):
        (folder / f"{index}.png").write_bytes(make_image("egret", index))
        watch("--out", out)
    text = out.read_text("utf-8")
    if name.endswith("csv"):
        rows = list(csv.DictReader(text.splitlines()))
    else:
        rows = [json.loads(line) for line in text.splitlines()]
    assert [(row["file"], row["label"]) for row in rows] == [
        ("30.png", "egret"),
        ("31.png", "egret"),
    ]


def test_images_are_moved_into_folders_of_their_classes(watch, folder, tmp_path):
    for label in ("heron", "egret"):
        (folder / f"{label}.png").write_bytes(make_image(label, 50))
    (folder / "broken.png").write_bytes(b"no picture")
    found = watch("--move", folder / "sorted")
    moved = {str(path.relative_to(folder)) for path in folder.rglob("*.png")}
    assert moved >= {"broken.png"}
    assert {path for path in moved if path != "broken.png"} == {
        str(Path(one["moved_to"]).relative_to(folder)) for one in found if one["moved_to"]
    }
    assert all(path.startswith("sorted/") for path in moved if path != "broken.png")
    assert watch("--move", folder / "sorted") == []


def test_folders_that_are_classes_are_learned(watch, folder, address, role_keys):
    write_images(folder, {"crane": range(5), "lonely": range(1)})
    (folder / "asked.png").write_bytes(make_image("heron", 60))
    found = watch("--teach", "--quiet", "0.3")
    assert [one["file"] for one in found] == ["asked.png"]
    with Filopodia(address, role_keys["reader"]) as client:
        tasks = list(client.tasks("birds"))
    assert len(tasks) == 1  # one image of a class is too few, so all wait for more of it
    write_images(folder, {"lonely": range(5)})
    watch("--teach", "--quiet", "0.3")
    with Filopodia(address, role_keys["reader"]) as client:
        wait_until(lambda: {"crane", "lonely"} <= {one["label"] for one in client.classes("birds")})
        assert len(list(client.tasks("birds"))) == 2
    watch("--teach", "--quiet", "0.3")
    with Filopodia(address, role_keys["reader"]) as client:
        assert len(list(client.tasks("birds"))) == 2


def test_what_cannot_be_is_said(run, folder, known_birds, tmp_path):
    assert run("watch", folder, "--learner", "birds", "--move", tmp_path, "--teach").exit_code == 2
    assert run("watch", folder, "--learner", "birds", "--out", tmp_path / "a.xls").exit_code == 2
    (folder / "a.png").write_bytes(make_image())
    missing = run("watch", folder, "--learner", "nobody", *QUICK)
    assert missing.exit_code == 1
    assert "no learner" in str(missing.exception)


def test_it_goes_on_until_it_is_ended(known_birds, folder, address, role_keys, tmp_path):
    out = tmp_path / "answers.jsonl"
    command = [sys.executable, "-m", "service.cli.main", "watch", str(folder)]
    options = ["--learner", "birds", "--out", str(out), "--url", address, "--key"]
    process = subprocess.Popen([*command, *options, role_keys["predictor"], *QUICK])

    def labels(name):
        records = map(json.loads, out.read_text().splitlines() if out.exists() else ())
        return [one["label"] for one in records if one["file"] == name]

    try:
        picture = make_image("heron", 70)
        (folder / "first.png").write_bytes(picture)
        wait_until(lambda: labels("first.png") == ["heron"])
        (folder / "slow.png").write_bytes(picture[:100])
        wait_until(lambda: labels("slow.png") == [None])  # it seemed to be whole, and is broken
        (folder / "slow.png").write_bytes(picture)
        wait_until(lambda: labels("slow.png") == [None, "heron"])
    finally:
        process.terminate()  # an interrupt is ignored by what was started in the background
        assert process.wait() == 0
