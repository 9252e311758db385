"""`filopodia predict` with folders, many images, images that cannot be used, and its tables."""

import csv
import io
import json
import os

import pytest
from PIL import Image
from typer.testing import CliRunner

from service.cli.main import app as commands
from tests.factories import make_image, write_images


@pytest.fixture
def settings(settings):
    """A service that takes little at once: what is more goes in several requests."""
    return settings.model_copy(
        update={
            "max_predict_images": 4,
            "max_image_bytes": 300_000,
            "max_predict_bytes": 600_000,
        }
    )


@pytest.fixture
def folder(tmp_path):
    """Seven images in folders of different depth, two that are none, and what systems leave behind."""
    folder = tmp_path / "mixed"
    write_images(folder, {"heron": range(10, 13), "egret/old": range(10, 13)})
    (folder / "without-suffix").write_bytes(make_image("heron", 20))
    (folder / "README.txt").write_text("No image.")
    (folder / "egret" / "list.csv").write_text("a,b")
    for name in (".hidden.png", "Thumbs.db", "heron/._1.png", "heron/@eaDir/thumb.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(make_image("heron", 1))
    return folder


def test_a_folder_is_a_table_of_all_its_images(run, known_birds, folder, asked):
    result = run("predict", known_birds, folder)
    lines = [line.split() for line in result.output.splitlines()]
    files = [line[0] for line in lines if line and line[0].startswith(str(folder)) and line[1:]]
    assert result.exit_code == 0, result.output
    assert files == [
        str(folder / name)
        for name in (
            "without-suffix",
            *(f"egret/old/{i}.png" for i in (10, 11, 12)),
            *(f"heron/{i}.png" for i in (10, 11, 12)),
        )
    ]
    assert [str(folder / "heron/10.png"), "heron"] in [line[:2] for line in lines]
    assert "7 of 7 images answered by version 1, 4 heron, 3 egret" in result.output
    assert "left out (2)" in result.output
    assert "README.txt" in result.output
    assert "route" not in result.output
    assert asked(2) == [4, 3]


def test_images_that_cannot_be_used_are_named_and_the_others_answered(run, known_birds, folder):
    (folder / "heron" / "10.png").write_bytes(make_image("heron", 10)[:300])
    (folder / "heron" / "11.jpg").write_bytes(b"")
    (folder / "heron" / "12.jpg").write_bytes(b"\xff\xd8\xff" + bytes(300_000))
    (folder / "zz.png").symlink_to(folder / "nowhere.png")
    result = run("predict", known_birds, folder)
    assert result.exit_code == 1
    assert "7 of 9 images answered" not in result.output
    assert "6 of 9 images answered" in result.output
    assert "Could not be used: 3" in result.output
    assert "0.3 MiB" in result.output


def test_one_that_cannot_be_used_alone_in_its_request_is_named_too(run, known_birds, tmp_path):
    write_images(tmp_path / "five", {"heron": range(10, 14)})
    (tmp_path / "five" / "heron" / "zz.jpg").write_bytes(b"no image at all")
    result = run("predict", known_birds, tmp_path / "five", "--json")
    results = json.loads(result.output)["results"]
    assert result.exit_code == 1
    assert [item.get("label") for item in results] == ["heron"] * 4 + [None]
    assert results[-1]["problem"]["code"] == "image-format-unsupported"


def test_large_images_are_sent_in_as_many_requests_as_it_takes(run, known_birds, tmp_path, asked):
    for i in range(5):
        (tmp_path / f"{i}.png").write_bytes(make_image("heron", i, size=300))
    size = (tmp_path / "0.png").stat().st_size
    assert 200_000 < size < 300_000
    result = run("predict", known_birds, *(tmp_path / f"{i}.png" for i in range(5)))
    assert result.exit_code == 0, result.output
    assert "5 of 5 images answered" in result.output
    assert asked(3) == [2, 2, 1]


def test_csv_has_a_row_for_each_image_and_names_the_request(run, known_birds, folder, tmp_path):
    (folder / "heron" / "broken.png").write_bytes(b"\x89PNG")
    (folder / 'comma, quote" and ü.png').write_bytes(make_image("egret", 30))
    result = run("predict", known_birds, folder, "--csv", tmp_path / "out.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text("utf-8"))))
    stored = json.loads(run("predictions", known_birds, "--json").output)
    assert result.exit_code == 1
    assert len(rows) == 9
    assert {row["prediction"] for row in rows if not row["problem"]} <= {p["id"] for p in stored}
    by_file = {row["file"]: row for row in rows}
    assert by_file[str(folder / 'comma, quote" and ü.png')]["label"] == "egret"
    assert by_file[str(folder / "heron/10.png")]["known"] in {"true", "false"}
    assert by_file[str(folder / "heron/broken.png")]["problem"]
    assert not by_file[str(folder / "heron/broken.png")]["score"]


def test_csv_on_the_standard_output_stands_alone(run, known_birds, folder):
    result = run("predict", known_birds, folder, "--csv", "-")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["version"] for row in rows] == ["1"] * 7
    assert "7 of 7 images answered" in result.stderr


def test_csv_never_takes_the_place_of_an_image(run, known_birds, folder):
    image = folder / "heron" / "10.png"
    before = image.read_bytes()
    result = run("predict", known_birds, "--csv", image, folder)
    assert result.exit_code == 2
    assert image.read_bytes() == before


def test_json_of_files_is_what_the_service_replied(run, known_birds, folder):
    files = sorted((folder / "heron").glob("[0-9]*.png"))
    one = json.loads(run("predict", known_birds, *files, "--json").output)
    several = json.loads(run("predict", known_birds, *files, *files, "--json").output)
    assert one["learner"] == "birds"
    assert [item["file"] for item in one["results"]] == [str(file) for file in files]
    assert one["results"][0]["route"]
    # A file that is named twice is asked about once.
    assert [len(reply["results"]) for reply in (one, several)] == [3, 3]


def test_json_of_a_folder_is_one_object_however_many_requests_it_took(run, known_birds, folder):
    answer = json.loads(run("predict", known_birds, folder, "--json").output)
    assert len(answer["results"]) == 7
    assert {item["version"] for item in answer["results"]} == {1}
    assert len({item["prediction"] for item in answer["results"]}) == 2
    assert answer["left_out"] == [str(folder / "README.txt"), str(folder / "egret" / "list.csv")]


def test_the_standard_input_is_an_image(run, known_birds):
    result = run("predict", known_birds, "-", input=make_image("egret", 40))
    assert result.exit_code == 0, result.output
    assert "egret" in result.output


def test_a_name_in_no_known_encoding_is_answered_too(run, known_birds, tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(make_image("egret", 40))
    result = run("predict", known_birds, folder)
    assert result.exit_code == 0, result.output
    assert "egret" in result.output


def test_folders_that_hold_one_another_are_read_once(run, known_birds, folder):
    (folder / "heron" / "loop").symlink_to(folder)
    assert "7 of 7 images answered" in run("predict", known_birds, folder).output


def test_what_is_not_to_be_kept_is_not_kept(run, known_birds, folder, asked):
    assert run("predict", known_birds, folder, "--no-store").exit_code == 0
    assert run("predict", known_birds, folder / "heron" / "10.png").exit_code == 0
    # What is asked later is stored later.
    assert asked(1) == [1]


def test_a_warning_stands_beside_its_answer(run, known_birds, tmp_path):
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(tmp_path / "nothing.png")
    alone = run("predict", known_birds, tmp_path / "nothing.png")
    among = run("predict", known_birds, tmp_path)
    assert "it shows nothing" in alone.output
    assert "it shows nothing" in among.output


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nowhere.png"], "There is no file or folder nowhere.png"),
        (["."], "holds no image"),
        ([".", "--csv", "-", "--json"], "Choose one of"),
    ],
)
def test_wrong_use_is_said_without_a_service(arguments, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "sys.argv", ["filopodia", "predict", "birds", *arguments, "--key", "fil_x_y"]
    )
    result = CliRunner().invoke(commands, ["predict", "birds", *arguments, "--key", "fil_x_y"])
    said = f"{' '.join(result.output.replace('│', '').split())} {result.exception}"
    assert reason in said
