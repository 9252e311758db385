import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from benchmarks.background import main, spread
from models.backbone import load_backbone
from models.background import Background, measure
from models.background_files import SUFFIX
from models.errors import BackboneError
from models.nothing import embed_nothing

OLD = Path(__file__).parents[1] / "models" / "old_backgrounds" / f"tiny{SUFFIX}"


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
    assert background.nothing is not None


def test_an_old_file_is_given_the_pictures_of_nothing_and_keeps_its_statistics(tmp_path: Path):
    out = tmp_path / f"tiny{SUFFIX}"
    shutil.copy(OLD, out)
    arguments = ["--add-nothing", "--out", str(out), "--device", "cpu"]

    main([*arguments, "--backbone", "tiny"])

    old, new = safetensors.torch.load_file(OLD), safetensors.torch.load_file(out)
    pictures = embed_nothing(load_backbone("tiny"), "token_and_patches")
    assert torch.equal(new.pop("nothing"), pictures.half())
    assert new.keys() == old.keys()
    assert all(torch.equal(new[name], tensor) for name, tensor in old.items())


def test_nothing_is_added_to_the_file_of_another_backbone(tmp_path: Path):
    out = tmp_path / f"tiny{SUFFIX}"
    data = measure(torch.randn(200, 64), None, fingerprint="of another")
    out.write_bytes(data)

    with pytest.raises(BackboneError, match="other weights"):
        main(["--add-nothing", "--out", str(out), "--backbone", "tiny", "--device", "cpu"])

    assert out.read_bytes() == data


@pytest.mark.parametrize("more", [[], ["--add-nothing", "--compare"]])
def test_data_is_asked_for_where_images_are_looked_at(tmp_path: Path, more, capsys):
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path / "file"), "--backbone", "tiny", *more])

    assert "--data is needed" in capsys.readouterr().err


def test_spread_is_measured_in_units_of_the_background():
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(600) % 6
    noise = torch.randn(600, 12, generator=generator)
    noise -= torch.stack([noise[targets == k].mean(0) for k in range(6)])[targets]
    centres = torch.randn(6, 12, generator=generator)
    background = Background.of(centres[targets] + noise, targets, fingerprint="abc")

    total, within = spread(centres[targets] + noise, targets, background)
    assert total == pytest.approx(1, abs=0.02)
    assert within == pytest.approx(1, abs=0.02)

    _, twice = spread(centres[targets] + 2 * noise, targets, background)
    assert twice == pytest.approx(4, rel=0.02)
