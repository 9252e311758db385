import json

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.sections.training import training_pace
from benchmarks.training_pace import WAYS, Split, main


@pytest.fixture
def folder(tmp_path):
    """Three classes of coloured noise, as `benchmarks.datasets` reads them."""
    random = np.random.default_rng(0)
    for split, n in (("train", 6), ("test", 4)):
        for k, colour in enumerate((40, 120, 200)):
            own = tmp_path / "data" / split / f"c{k}"
            own.mkdir(parents=True)
            for i in range(n):
                noise = random.integers(-30, 31, (32, 32, 3))
                pixels = np.clip(colour + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(own / f"{i}.png")
    return tmp_path / "data"


def test_every_way_is_measured_and_shown(folder, tmp_path):
    out = tmp_path / "training_pace.json"
    config = {"epochs": 1, "least_steps": 0, "bottleneck": 2, "batch_size": 4}

    options = f"--backbone tiny --classes 2 --images 5 --seeds 0 1 --out {out}".split()
    main(["--data", str(folder), "--config", json.dumps(config), *options])

    content = json.loads(out.read_text())
    rows = content["rows"]
    assert [(row["seed"], row["way"]) for row in rows] == [(s, way) for s in (0, 1) for way in WAYS]
    for row in rows:
        assert 0 <= row["accuracy"] <= 1
        assert (row["seconds"] > 0) or row["way"] == "frozen"
    assert len({row["loss"] for row in rows if row["seed"] == 0}) > 1  # they end differently
    shown = "\n".join(training_pace("training_pace", content).text)
    assert "| plain |" in shown
    assert "1.0 (1.0 to 1.0)" in shown


def test_classes_are_numbered_as_they_were_drawn():
    split = Split(
        images=torch.arange(6),
        targets=torch.tensor([0, 1, 2, 0, 1, 2]),
        test_images=torch.arange(3),
        test_targets=torch.tensor([2, 1, 0]),
    )

    drawn = split.of(torch.tensor([2, 0]))

    assert drawn.images.tolist() == [2, 5, 0, 3]
    assert drawn.targets.tolist() == [0, 0, 1, 1]
    assert drawn.test_images.tolist() == [0, 2]
    assert drawn.test_targets.tolist() == [0, 1]
