from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.background import main
from models.backbone import load_backbone
from models.background import SUFFIX


def write_folders(root: Path, n_classes: int, per_class: int) -> None:
    """Noise of one colour a class."""
    rng = np.random.default_rng(0)
    for k in range(n_classes):
        (root / "train" / str(k)).mkdir(parents=True)
        for i in range(per_class):
            pixels = rng.integers(20 * k, 20 * k + 80, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "train" / str(k) / f"{i}.png")


def test_the_first_images_of_every_class_become_a_file_that_the_backbone_takes(tmp_path: Path):
    write_folders(tmp_path / "data", n_classes=5, per_class=32)
    out = tmp_path / f"tiny{SUFFIX}"
    arguments = ["--data", str(tmp_path / "data"), "--backbone", "tiny", "--device", "cpu"]

    main([*arguments, "--out", str(out)])

    background = load_backbone("tiny", weights=tmp_path).background
    assert background is not None
    assert (background.n_images, background.n_classes) == (150, 5)
    assert float(background.within.trace()) < float(background.covariance.trace())
