"""`filopodia test` against a service."""

import csv
import io
import json

import httpx
import pytest

from tests.factories import make_image, write_images


@pytest.fixture
def photos(tmp_path):
    """Ten images of known classes, one of them in the wrong folder; three of an unknown class; two unusable."""
    folder = tmp_path / "photos"
    write_images(folder, {"heron": range(20, 25), "egret": range(20, 24), "plaice": range(3)})
    (folder / "egret" / "wrong.png").write_bytes(make_image("heron", 30))
    (folder / "egret" / "broken.png").write_bytes(make_image("egret", 31)[:200])
    (folder / "heron" / "empty.jpg").write_bytes(b"")
    (folder / "heron" / "notes.txt").write_text("Seen at the pond.")
    return folder


def test_the_report_says_how_good_it_is_and_where_it_is_wrong(
    run, known_birds, photos, monkeypatch
):
    # A long path would be folded.
    monkeypatch.chdir(photos.parent)
    result = run("test", known_birds, photos.name)
    text = " ".join(result.output.split())
    assert result.exit_code == 0, result.output
    assert "accuracy 90.0% 95 % interval 59.6% to 98.2% 9 of 10 images, by version 1" in text
    assert "egret 5 4 80.0% 37.6% to 96.4%" in text
    assert "egret heron egret 4 1 heron · 5" in text
    assert "photos/egret/wrong.png egret heron" in text
    assert "plaice 3" in text
    assert "Could not be used (2):" in text
    assert "notes.txt" in text
    assert json.loads(run("predictions", known_birds, "--json").output) == []


def test_json_holds_all_of_it(run, known_birds, photos):
    report = json.loads(run("test", known_birds, photos, "--json").output)
    assert (report["n"], report["right"], report["accuracy"]) == (10, 9, 0.9)
    assert report["interval"] == pytest.approx([0.5958, 0.9821], abs=1e-4)
    assert report["confusion"] == {"egret": {"egret": 4, "heron": 1}, "heron": {"heron": 5}}
    assert [item["file"] for item in report["wrong"]] == [str(photos / "egret" / "wrong.png")]
    unknown = report["unknown_classes"]
    assert [(item["class"], item["n"], item["hidden"]) for item in unknown] == [
        ("plaice", 3, False)
    ]
    assert 0 <= unknown[0]["said_unknown"] <= 3
    assert [item["problem"]["code"] for item in report["unusable"]] == [
        "image-truncated",
        "image-empty",
    ]
    assert report["left_out"] == [str(photos / "heron" / "notes.txt")]
    assert report["missing_classes"] == []


def test_an_accuracy_that_is_too_low_exits_with_1(run, known_birds, photos, tmp_path):
    assert run("test", known_birds, photos, "--min-accuracy", 0.9).exit_code == 0
    low = run("test", known_birds, photos, "--min-accuracy", 0.95)
    assert low.exit_code == 1
    assert "should be at least 95.00%" in low.output
    write_images(tmp_path / "strange", {"plaice": range(3), "sole": range(3)})
    none = run("test", known_birds, tmp_path / "strange", "--min-accuracy", 0.1)
    assert none.exit_code == 1
    assert "There is no accuracy" in none.output
    assert "Known, but not in the folder: egret, heron" in " ".join(none.output.split())


def test_a_class_may_be_called_by_its_name_and_a_hidden_one_does_not_count(
    run, known_birds, photos
):
    run("rename-class", known_birds, "heron", "Grey heron")
    by_label = json.loads(run("test", known_birds, photos, "--json").output)
    (photos / "heron").rename(photos / "grey heron")
    by_name = json.loads(run("test", known_birds, photos, "--json").output)
    run("hide-class", known_birds, "egret")
    hidden = json.loads(run("test", known_birds, photos, "--json").output)
    assert by_label["confusion"] == {
        "egret": {"egret": 4, "Grey heron": 1},
        "Grey heron": {"Grey heron": 5},
    }
    assert by_name["confusion"] == by_label["confusion"]
    assert (hidden["n"], hidden["right"]) == (5, 5)
    assert [(item["class"], item["n"], item["hidden"]) for item in hidden["unknown_classes"]] == [
        ("egret", 5, True),
        ("plaice", 3, False),
    ]


def test_of_split_folders_what_is_kept_out_is_tested(run, known_birds, tmp_path):
    folder = tmp_path / "split"
    write_images(folder / "train", {"heron": range(4), "egret": range(4)})
    write_images(folder / "test", {"heron": range(30, 32), "egret": range(30, 33)})
    kept_out = json.loads(run("test", known_birds, folder, "--json").output)
    everything = json.loads(run("test", known_birds, folder, "--all", "--json").output)
    output = run("test", known_birds, folder).output
    assert (kept_out["n"], everything["n"]) == (5, 13)
    assert "5 images that the folder keeps out" in " ".join(output.split())


def test_a_list_of_labels_decides_alone(run, known_birds, photos, tmp_path):
    (tmp_path / "list.csv").write_text(
        "filename,label\negret/wrong.png,heron\negret/20.png,egret\n", "utf-8"
    )
    found = json.loads(
        run("test", known_birds, photos, "--manifest", tmp_path / "list.csv", "--json").output
    )
    assert (found["n"], found["right"]) == (2, 2)


def test_an_older_version_is_tested_on_what_it_knew(run, known_birds, photos, tmp_path):
    write_images(tmp_path / "more", {"plaice": range(10, 16), "sole": range(10, 16)})
    learned = run("learn", known_birds, tmp_path / "more")
    assert learned.exit_code == 0, learned.output
    new = json.loads(run("test", known_birds, photos, "--json").output)
    old = json.loads(run("test", known_birds, photos, "--version", 1, "--json").output)
    assert (new["version"], new["n"], new["missing_classes"]) == (2, 13, ["sole"])
    assert (old["version"], old["n"], old["missing_classes"]) == (1, 10, [])


def test_csv_has_a_row_for_each_image(run, known_birds, photos, tmp_path):
    result = run("test", known_birds, photos, "--csv", tmp_path / "out.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text("utf-8"))))
    assert result.exit_code == 0
    assert len(rows) == 15
    wrong = [row for row in rows if row["right"] == "false" and row["truth"] != "plaice"]
    assert [row["file"] for row in wrong] == [str(photos / "egret" / "wrong.png")]
    assert sum(bool(row["problem"]) for row in rows) == 2


def test_a_learner_that_has_learned_nothing_says_so(run, photos, address, role_keys):
    body = {"name": "empty", "strategy": "simplecil", "backbone": "tiny"}
    headers = {"Authorization": f"Bearer {role_keys['trainer']}"}
    assert httpx.post(f"{address}/v1/learners", json=body, headers=headers).status_code == 201
    assert run("test", "empty", photos).exception.code == "nothing-learned"
    assert run("test", "nobody", photos).exception.code == "learner-not-found"


def test_a_layout_that_is_not_clear_is_refused(run, tmp_path):
    write_images(tmp_path / "photos", {"heron": range(2), "cat/persian": range(2)})
    refused = run("test", "birds", tmp_path / "photos")
    assert "different depths" in str(refused.exception)
