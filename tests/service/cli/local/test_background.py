"""`filopodia background`: from a folder of images to a file that the backbone takes."""

import pytest
import torch
from typer.testing import CliRunner

from models.backbone import load_backbone
from models.background import WITHIN_SHARE
from models.background_files import SUFFIX
from models.nothing import embed_nothing
from service.cli.main import app
from tests.factories import make_image, make_pixels

CLASSES = ("crane", "egret", "heron", "stork")
PER_CLASS = 40


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of 4 x 40 images, and no setting of the weights' folder."""
    monkeypatch.delenv("FILOPODIA_BACKBONE_WEIGHTS", raising=False)
    monkeypatch.setenv("FILOPODIA_DEVICE", "cpu")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    for label in CLASSES:
        (folder / label).mkdir(parents=True)
        for i in range(PER_CLASS):
            (folder / label / f"{i:02d}.png").write_bytes(make_image(label, i))
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ["background", "tiny", *map(str, arguments)])


def loaded(folder):
    background = load_backbone("tiny", weights=folder).background
    assert background is not None
    return background


def test_a_folder_of_classes_becomes_the_background_of_these_images(photos, tmp_path):
    result = run(photos)

    assert result.exit_code == 0, result.output
    assert "photos: 160 images of 4 classes" in result.output
    assert f"Wrote tiny{SUFFIX}: 160 images of 4 classes" in result.output
    assert "FILOPODIA_BACKBONE_WEIGHTS" in result.output
    background, backbone = loaded(tmp_path), load_backbone("tiny")
    assert (background.n_images, background.n_classes) == (160, 4)
    pixels = [backbone.preprocess(make_pixels(c, i)) for c in CLASSES for i in range(PER_CLASS)]
    features = backbone.embed(torch.stack(pixels), pooling="token_and_patches").double()
    torch.testing.assert_close(background.mean, features.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        background.covariance.trace(), features.var(0).sum(), rtol=1e-3, atol=0
    )
    assert background.nothing is not None
    assert torch.equal(background.nothing, embed_nothing(backbone, "token_and_patches").half())
    within = features.reshape(4, PER_CLASS, -1).var(dim=1).sum() / 4
    torch.testing.assert_close(background.within.trace(), within, rtol=1e-3, atol=0)


def test_it_is_written_beside_the_weights_and_taken_from_there(photos, tmp_path, monkeypatch):
    weights = tmp_path / "weights"
    weights.mkdir()
    monkeypatch.setenv("FILOPODIA_BACKBONE_WEIGHTS", str(weights))

    result = run(photos, "--per-class", 36)

    assert result.exit_code == 0, result.output
    assert "Put it into" not in result.output
    assert loaded(weights).n_images == 144
    again = (weights / f"tiny{SUFFIX}").read_bytes()
    (weights / f"tiny{SUFFIX}").write_bytes(b"damaged")
    assert run(photos, "--per-class", 36).exit_code == 0
    assert (weights / f"tiny{SUFFIX}").read_bytes() == again


def test_files_that_cannot_be_used_are_named_and_left_out(photos, tmp_path):
    (photos / "heron" / "broken.png").write_bytes(make_image()[:200])
    (photos / "heron" / "small.png").write_bytes(make_image(size=4))

    result = run(photos, "--out", tmp_path / f"tiny{SUFFIX}")

    assert result.exit_code == 0, result.output
    assert "broken.png: The PNG ends before the image does." in result.output
    assert "small.png: The PNG has 4 x 4 pixels" in result.output
    assert loaded(tmp_path).n_images == 160


def test_of_many_files_ten_are_named(photos):
    for i in range(12):
        (photos / "heron" / f"broken{i}.png").write_bytes(make_image()[:200])

    result = run(photos)

    assert result.output.count("broken") == 10
    assert "left out: 2 more files" in result.output


def test_images_in_no_folder_of_their_class_need_a_word_for_it(photos, tmp_path):
    for i, file in enumerate(sorted(photos.rglob("*.png"))):
        file.rename(photos / f"{i}.png")

    refused = run(photos)
    assert refused.exit_code != 0
    assert "--no-classes" in str(refused.exception) + refused.output

    result = run(photos, "--no-classes")
    assert result.exit_code == 0, result.output
    assert "160 images, classes unknown" in result.output
    background = loaded(tmp_path)
    assert background.n_classes == 0
    torch.testing.assert_close(
        background.within, WITHIN_SHARE * background.covariance, rtol=1e-5, atol=1e-5
    )


def test_images_of_a_test_split_are_not_looked_at(photos, tmp_path):
    for label in ("heron", "crane"):
        for split, numbers in (("train", range(70)), ("test", range(70, 90))):
            (photos.parent / "split" / split / label).mkdir(parents=True)
            for i in numbers:
                file = photos.parent / "split" / split / label / f"{i}.png"
                file.write_bytes(make_image(label, i))

    result = run(photos.parent / "split")

    assert result.exit_code == 0, result.output
    assert "180 images of 2 classes, 40 of them kept out" in result.output
    assert (loaded(tmp_path).n_images, loaded(tmp_path).n_classes) == (140, 2)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--per-class", "5"], "20 images are too few"),
        (["--image-size", "64"], "tiny takes images of 32 pixels"),
        (["--out", "nowhere/file"], "There is no folder nowhere"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_sentence(photos, tmp_path, arguments, sentence):
    result = run(photos, *arguments)

    assert result.exit_code in (1, 2)
    assert sentence in result.output
    assert not list(tmp_path.rglob(f"*{SUFFIX}"))
