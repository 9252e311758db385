"""`filopodia samples`: pictures that are all different, always the same, and never replace what is somebody else's."""

import io

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from service.cli.local.sample_pictures import FRUIT, draw
from service.cli.main import app
from service.layout.folders import read_folder


def labelled_files(folder):
    return [folder / image.path for image in read_folder(folder).images]


def run(*arguments):
    return CliRunner().invoke(app, ["samples", *map(str, arguments)])


def test_it_writes_two_folders_to_learn_from_and_new_pictures(tmp_path):
    folder = tmp_path / "with space"
    result = run(folder)
    assert result.exit_code == 0, result.output
    first, second = labelled_files(folder / "fruit"), labelled_files(folder / "more-fruit")
    assert {path.parent.name for path in first} == {"apple", "banana", "orange"}
    assert {path.parent.name for path in second} == {"pear", "plum"}
    new = sorted((folder / "new").iterdir())
    assert len(new) == 6
    contents = {path.read_bytes() for path in (*first, *second, *new)}
    assert len(contents) == len(first) + len(second) + len(new) == 66


def test_again_is_the_same_and_a_foreign_file_stays(tmp_path):
    assert run(tmp_path).exit_code == 0
    assert run(tmp_path).exit_code == 0
    mine = tmp_path / "new" / "apple.jpg"
    mine.write_bytes(b"mine")
    result = run(tmp_path)
    assert result.exit_code == 2
    assert mine.read_bytes() == b"mine"


def test_the_digits_are_real_and_the_new_ones_in_no_folder(tmp_path):
    assert run(tmp_path, "--digits").exit_code == 0
    learned = labelled_files(tmp_path / "digits") + labelled_files(tmp_path / "more-digits")
    assert {path.parent.name for path in learned} == set("0123456789")
    assert len(learned) + len(list((tmp_path / "new-digits").iterdir())) == 1797


@pytest.mark.parametrize("kind", FRUIT)
def test_a_picture_shows_something_in_front_of_something(kind):
    pixels = np.asarray(Image.open(io.BytesIO(draw(kind, 3))), dtype=float)
    assert pixels.shape == (160, 160, 3)
    middle, corner = pixels[60:100, 60:100], pixels[:12, :12]
    assert np.abs(middle.mean((0, 1)) - corner.mean((0, 1))).max() > 15
    assert draw(kind, 3) == draw(kind, 3) != draw(kind, 4)
