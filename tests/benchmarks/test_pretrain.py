import json
import math
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file
from torch.nn import functional

from benchmarks import pretrain
from benchmarks.pretrain import Pool, Student, Trainer, TrainingConfig, train, warp_matrix
from models.backbone import build_vit

ARCHITECTURE = {
    "img_size": 64,
    "patch_size": 2,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
    "num_classes": 0,
    "stem": {"channels": [8, 8, 8], "stride": [2, 2, 2]},
}
CONFIG = TrainingConfig(
    epochs=3,
    minutes=math.inf,
    batch_size=16,
    matrix_rate=3e-3,
    other_rate=1e-3,
    weight_decay=0.05,
    seed=0,
)


@pytest.fixture(scope="module")
def work_dir(tmp_path_factory) -> Path:
    """What the preparation leaves behind, with 32 images and a teacher that says random things."""
    folder, rng = tmp_path_factory.mktemp("work"), np.random.default_rng(0)
    views = 32 * pretrain.N_VIEWS
    np.save(folder / "images.npy", rng.integers(0, 256, (views, 3, 64, 64), dtype=np.uint8))
    np.save(folder / "labels.npy", np.arange(views) % 4)
    np.save(folder / "class_tokens.npy", rng.normal(size=(views, 192)).astype(np.float16))
    np.save(folder / "patch_tokens.npy", rng.normal(size=(views, 64, 192)).astype(np.float16))
    np.save(folder / "glyphs.npy", rng.integers(0, 256, (8, 64, 64), dtype=np.uint8))
    np.save(folder / "characters.npy", np.arange(8))
    return folder


@pytest.fixture(scope="module")
def teacher():
    return timm.create_model(pretrain.TEACHER, pretrained=False).eval().requires_grad_(False)


def start(work_dir: Path, teacher) -> Trainer:
    torch.manual_seed(0)
    student = Student(4, ARCHITECTURE)
    return Trainer(Pool(work_dir, student.grid, torch.device("cpu")), student, teacher, CONFIG)


def test_training_lowers_the_loss_and_exports_what_the_service_loads(
    work_dir, teacher, tmp_path, monkeypatch
):
    monkeypatch.setattr(pretrain, "ARCHITECTURE", ARCHITECTURE)
    trainer = start(work_dir, teacher)
    losses = [trainer.advance()["label"] for _ in range(3)]

    train(trainer, tmp_path, tmp_path / "out", revision="7")

    described = json.loads((tmp_path / "out" / "bundled.json").read_text())
    assert described["revision"] == "7"
    vit = build_vit(described["architecture"])
    vit.load_state_dict(load_file(tmp_path / "out" / "bundled.safetensors"))
    assert trainer.advance()["label"] < min(losses)


def test_a_resumed_run_ends_like_one_that_was_never_interrupted(work_dir, teacher, tmp_path):
    whole = start(work_dir, teacher)
    for _ in range(4):
        whole.advance()
    first = start(work_dir, teacher)
    for _ in range(2):
        first.advance()
    first.save(tmp_path / "checkpoint.safetensors")

    second = start(work_dir, teacher)
    second.load(tmp_path / "checkpoint.safetensors")
    for _ in range(2):
        second.advance()

    assert second.step == whole.step
    for name, tensor in whole.average.items():
        assert torch.equal(tensor, second.average[name]), name


def test_the_warp_moves_tokens_as_it_moves_pixels():
    affine = torch.tensor([[[-0.9, 0.0, 0.05], [0.0, 0.9, -0.1]]])
    tokens = torch.randn(1, 64, 5)

    warped = warp_matrix(affine, 4) @ tokens

    maps = tokens.mT.unflatten(2, (8, 8))
    grid = functional.affine_grid(affine, [1, 5, 8, 8], align_corners=False)
    moved = functional.grid_sample(maps, grid, padding_mode="border", align_corners=False)
    expected = functional.avg_pool2d(moved, 2).flatten(2).mT
    assert torch.allclose(warped, expected, atol=1e-5)
