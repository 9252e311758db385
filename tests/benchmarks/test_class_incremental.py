import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from rich.console import Console

from benchmarks.class_incremental import (
    Protocol,
    RememberingBackbone,
    Results,
    calibration_error,
    forgetting,
    make_stream,
    measure,
    novelty_auroc,
    show,
)
from benchmarks.datasets import LabelledImages
from models.adapter import Adapter
from models.backbone import load_backbone
from models.strategies.artsy_gaussian.config import ArtsyGaussianConfig
from models.strategies.artsy_paper.config import ArtsyPaperConfig
from models.strategies.catalog import create_strategy
from models.strategies.values import Prediction

PROTOCOL = Protocol(
    data="colours",
    backbone="tiny",
    image_size=32,
    base_classes=0,
    tasks=3,
    train_per_class=4,
    test_per_class=2,
    held_out_per_class=1,
)


def coloured(per_class: int) -> LabelledImages:
    """Seven classes of one colour each, with noise."""
    rng = np.random.default_rng(per_class)
    colours = np.random.default_rng(0).integers(30, 220, (7, 1, 1, 3))
    targets = np.repeat(np.arange(7), per_class)
    images = [(colours[k] + rng.integers(-20, 21, (32, 32, 3))).astype(np.uint8) for k in targets]
    return LabelledImages(images=images, targets=targets, classes=tuple("abcdefg"))


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("tiny")


def prediction(scores: list[list[float]], novelty: list[float]) -> Prediction:
    n = len(scores)
    return Prediction(
        probabilities=torch.tensor(scores),
        novelty=torch.tensor(novelty),
        currents=torch.zeros(n, 0),
        thresholds=torch.zeros(0),
        functional=torch.zeros(n, 0, dtype=torch.bool),
        passes=torch.ones(n, dtype=torch.int64),
    )


def test_the_stream_deals_every_class_and_image_once(backbone):
    stream = make_stream(backbone, coloured(4), coloured(2), PROTOCOL, seed=1993)

    assert [len(part.task.classes) for part in stream] == [3, 2, 2]
    labels = [label for part in stream for label in part.task.classes]
    assert len(set(labels)) == 7
    assert labels != sorted(labels)
    first = stream[0]
    assert (len(first.task.images), len(first.task.held_out_images)) == (9, 3)
    assert len(first.test_images) == 6
    assert set(first.test_labels) == set(first.task.classes)


def test_base_classes_come_first_in_one_task(backbone):
    protocol = Protocol(**{**vars(PROTOCOL), "base_classes": 4, "tasks": 3})

    stream = make_stream(backbone, coloured(4), coloured(2), protocol, seed=0)

    assert [len(part.task.classes) for part in stream] == [4, 1, 1, 1]


def test_a_measured_row_is_kept_and_not_run_again(backbone, tmp_path):
    path = tmp_path / "results" / "colours.json"
    strategy = create_strategy("simplecil", {}, backbone)
    stream = make_stream(backbone, coloured(4), coloured(2), PROTOCOL, seed=1)
    console = Console(record=True, width=200)

    row = measure(strategy, stream, 1, console)
    Results(path, PROTOCOL).add(row)

    again = Results(path, PROTOCOL)
    assert again.has("simplecil", {}, 1, at_once=False)
    assert not again.has("simplecil", {}, 2, at_once=False)
    assert not again.has("simplecil", {}, 1, at_once=True)
    assert row.last == pytest.approx(np.mean(np.repeat(row.matrix[-1], [6, 4, 4])))
    assert row.average == pytest.approx(np.mean(row.seen))
    show(again.rows, console)
    assert f"{100 * row.last:.1f}" in console.export_text()


def test_learning_all_at_once_is_measured_step_by_step_among_the_classes_seen(backbone):
    stream = make_stream(backbone, coloured(4), coloured(2), PROTOCOL, seed=1)
    console = Console(record=True)
    # Class means do not depend on the order: at once or one by one makes no difference but for the calibration.
    rows = [
        measure(create_strategy("simplecil", {}, backbone), stream, 1, console, at_once=at_once)
        for at_once in (False, True)
    ]

    assert rows[1].at_once
    assert rows[1].seen == rows[0].seen
    assert rows[1].matrix == rows[0].matrix


def test_a_remembering_backbone_keeps_the_background():
    bundled = load_backbone("bundled")

    assert bundled.background is not None
    assert RememberingBackbone(bundled).background is bundled.background


def test_the_same_images_are_embedded_once_through_each_subnetwork(backbone):
    remembering = RememberingBackbone(backbone)
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    adapter = Adapter(width=backbone.feature_width, depth=backbone.depth, bottleneck=4)
    torch.nn.init.ones_(adapter.at(0).up.weight)

    plain, adapted = remembering.embed(images), remembering.embed(images, adapter)

    assert torch.equal(plain, backbone.embed(images))
    assert torch.equal(adapted, backbone.embed(images, adapter))
    assert remembering.embed(images.clone(), adapter.clone()) is adapted
    assert remembering.fingerprint == backbone.fingerprint
    torch.nn.init.ones_(adapter.at(1).up.weight)
    assert torch.equal(remembering.embed(images, adapter), backbone.embed(images, adapter))
    remembering.remembers = False
    assert remembering.embed(images) is not plain


def test_rows_of_another_protocol_are_not_mixed_in(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"protocol": {"tasks": 99}, "rows": []}))

    with pytest.raises(ValueError, match="another protocol"):
        Results(path, PROTOCOL)


def test_rows_with_a_preset_are_those_of_the_strategy_that_it_is_now(tmp_path):
    path = tmp_path / "rows.json"
    before = {
        "epochs": 3,
        "batch_size": None,
        "threshold": None,
        "shrinkage": 0.1,
        "combine": "sum",
    }
    rows = [
        {"strategy": "artsy", "seed": 1, "at_once": False, "config": {"preset": preset, **before}}
        for preset in ("consolidated", "paper")
    ]
    path.write_text(json.dumps({"protocol": asdict(PROTOCOL), "rows": rows}))

    results = Results(path, PROTOCOL)

    for name, config in (
        ("artsy_gaussian", ArtsyGaussianConfig),
        ("artsy_paper", ArtsyPaperConfig),
    ):
        assert results.has(name, asdict(config(epochs=3)), 1, at_once=False)
        assert not results.has(name, asdict(config(epochs=4)), 1, at_once=False)
    assert len(results.rows) == 2


def test_forgetting_is_the_fall_from_the_best():
    assert forgetting([[1.0], [0.5, 0.9], [0.6, 0.8, 1.0]]) == pytest.approx((0.4 + 0.1) / 2)
    assert forgetting([[1.0]]) == 0


def test_calibration_error_is_the_gap_between_score_and_accuracy():
    sure = prediction([[0.9, 0.1]] * 10, [0.0] * 10)
    right = torch.tensor([True] * 6 + [False] * 4)

    assert calibration_error(sure, right) == pytest.approx(0.3)


def test_auroc_is_one_where_unknown_images_all_look_newer():
    known = prediction([[1.0, 0.0]] * 3, [0.1, 0.2, 0.3])
    unknown = prediction([[1.0, 0.0]] * 2, [0.8, 0.9])

    assert novelty_auroc(known, unknown) == 1
    assert novelty_auroc(known, known) == pytest.approx(0.5)
