import json

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.gate_features import embed_twice, fit_gate, main
from models.backbone import load_backbone


def test_the_same_pass_gives_the_early_and_the_final_features():
    backbone = load_backbone("tiny")
    images = torch.randint(0, 256, (70, 3, 32, 32), dtype=torch.uint8)

    final, early = embed_twice(backbone, images, 1)

    assert torch.equal(final, backbone.embed(images))
    assert early.shape == final.shape
    vit = backbone.vit
    with torch.inference_mode():
        tokens = vit._pos_embed(vit.patch_embed((images / 255 - 0.5) / 0.5))
        torch.testing.assert_close(early, vit.blocks[0](tokens)[:, 0])
    assert not vit.blocks[1].norm1._forward_pre_hooks


def test_a_block_that_is_not_early_is_refused():
    backbone = load_backbone("tiny")

    with pytest.raises(ValueError, match="1 to 1"):
        embed_twice(backbone, torch.zeros(1, 3, 32, 32), backbone.depth)


def test_the_gate_tells_clusters_apart_and_shuffled_tasks_not():
    rng = np.random.default_rng(0)
    tasks = np.arange(90) % 3
    features = 4 * np.eye(3, 8)[tasks] + rng.normal(0, 0.3, (90, 8))
    shuffled = rng.permutation(tasks)

    accuracy, places = fit_gate(features[:60], tasks[:60], features[60:], tasks[60:])

    assert accuracy == 1
    assert places.shape == (30, 2)
    assert fit_gate(features[:60], shuffled[:60], features[60:], shuffled[60:])[0] < 0.7


def test_the_command_writes_points_and_accuracies(tmp_path):
    rng = np.random.default_rng(0)
    for split, n in (("train", 4), ("test", 2)):
        for k in range(6):
            folder = tmp_path / "colours" / split / f"class {k}"
            folder.mkdir(parents=True)
            for i in range(n):
                pixels = 40 * k + rng.integers(0, 30, (32, 32, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    out = tmp_path / "gate_features.json"

    options = (
        "--backbone tiny --tasks 3 --block 1 --train-per-class 4 --test-per-class 2 --points 9"
    )
    where = ["--data", str(tmp_path / "colours"), "--out", str(out)]
    main([*where, *options.split(), "--device", "cpu", "--threads", "1"])

    result = json.loads(out.read_text())
    assert result["n_test"] == 12
    for found in result["features"].values():
        assert 0 <= found["accuracy"] <= 1
        assert len(found["points"]) == 9
        assert {point[2] for point in found["points"]} <= {1, 2, 3}
