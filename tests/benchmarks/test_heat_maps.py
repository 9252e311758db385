"""Which map of an image is most faithful."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import heat_maps
from models.occlusion import CELLS, blurred


class ReadsOneCorner:
    """Answers by the brightness of the upper left corner alone."""

    def predict(self, images):
        bright = images[:, :, :16, :16].float().mean(dim=(1, 2, 3)).div(255).clamp(0.01, 0.99)
        return type("Answer", (), {"probabilities": torch.stack([bright, 1 - bright], dim=1)})


def test_a_map_that_knows_the_corner_is_more_faithful_than_one_that_does_not():
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    image[:, :16, :16] = 255
    right, wrong = torch.zeros(CELLS, CELLS), torch.zeros(CELLS, CELLS)
    right[:2, :2], wrong[-2:, -2:] = 1, 1
    found = [
        heat_maps.faithfulness(ReadsOneCorner(), image, heat, 0, blurred(image))
        for heat in (right, wrong, heat_maps.by_occlusion(ReadsOneCorner(), image, 0))
    ]
    assert found[0] > 0 > found[1]
    assert found[2] > 0


def test_it_runs_on_a_folder_of_photos(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    for label, colour in (("red", (200, 40, 40)), ("blue", (40, 60, 200))):
        (tmp_path / label).mkdir()
        for i in range(6):
            pixels = np.clip(np.array(colour) + rng.normal(0, 20, (64, 64, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / label / f"{i}.png")
    monkeypatch.setattr(heat_maps, "LEARNED", 5)
    monkeypatch.setattr(sys, "argv", ["heat_maps", "--data", str(tmp_path), "--per-class", "1"])
    heat_maps.main()
    printed = capsys.readouterr().out
    assert "occlusion" in printed
    assert "n = 2" in printed
    monkeypatch.setattr(sys, "argv", ["heat_maps"])
    with pytest.raises(SystemExit):
        heat_maps.main()
