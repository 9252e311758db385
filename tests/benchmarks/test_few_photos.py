import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.datasets import LabelledImages
from benchmarks.few_photos import main, split


def data(per_class=20, classes=3):
    return LabelledImages(
        images=[np.zeros((4, 4, 3), np.uint8)] * (per_class * classes),
        targets=np.repeat(np.arange(classes), per_class),
        classes=("a", "b", "c")[:classes],
    )


def test_the_test_is_the_same_for_every_number_of_photos_and_never_learned():
    few, many = (split(data(), photos=n, test_photos=8, seed=1) for n in (4, 12))
    assert (few[2] == many[2]).all()
    assert set(few[0]) | set(few[1]) <= set(many[0]) | set(many[1])
    for learned, held_out, tested in (few, many):
        assert len({*learned, *held_out, *tested}) == len(learned) + len(held_out) + len(tested)
    assert [len(rows) for rows in few] == [9, 3, 24]
    assert (split(data(), photos=4, test_photos=8, seed=2)[2] != few[2]).any()


def test_too_few_photos_are_refused():
    with pytest.raises(ValueError, match="too few"):
        split(data(), photos=13, test_photos=8, seed=0)


def test_easy_photos_are_told_apart_and_finished_rows_kept(tmp_path):
    rng = np.random.default_rng(0)
    for label, level in (("dark", 40), ("light", 210)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(12):
            pixels = np.clip(level + rng.normal(0, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{i}.png")
    out = tmp_path / "out.json"
    command = [
        "--data",
        str(tmp_path / "photos"),
        "--backbone",
        "tiny",
        "--strategies",
        "simplecil",
    ]
    command += ["--photos", "4", "--test-photos", "6", "--seeds", "0", "--out", str(out)]
    main(command)
    written = out.read_text()
    [row] = json.loads(written)["rows"]
    assert (row["accuracy"], row["n_test"], row["photos"]) == (1.0, 12, 4)
    main(command)
    assert out.read_text() == written
