import json

import torch

from benchmarks.many_classes import drawn, main, tensor_bytes


def test_a_learner_is_measured_and_written(tmp_path):
    out = tmp_path / "many.json"

    main(["--classes", "12", "--images", "9", "--widths", "24", "--out", str(out)])

    [row] = json.loads(out.read_text())["rows"]
    assert (row["width"], row["classes"], row["images"]) == (24, 12, 9)
    # Nine rows in float16 and a mean in float64, and three numbers.
    assert row["state_kb_per_class"] == round((9 * 24 * 2 + 24 * 8 + 3 * 8) / 1000, 1)
    # At least the means of each class in two spaces.
    assert row["megabytes"] >= round(2 * 12 * 24 * 4 / 1e6, 1)
    assert min(row["weigh_seconds"], row["build_seconds"], row["one_image_ms"]) >= 0


def test_classes_are_told_apart_by_what_is_drawn():
    _, shown, _ = drawn(24, 5, 9)

    nearest = torch.cdist(shown.rows, shown.means).argmin(dim=1)

    assert (nearest == shown.targets).double().mean() > 0.9


def test_a_tensor_counts_once_wherever_it_lies():
    tensor = torch.zeros(10)

    assert tensor_bytes({"a": [tensor, tensor.view(2, 5)], "b": (tensor.double(), "x")}) == 120
