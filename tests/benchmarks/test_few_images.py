"""The grid of few images: what is drawn, what is measured, and what is made of it."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.class_incremental import calibration_error
from benchmarks.datasets import LabelledImages
from benchmarks.few_images.__main__ import main
from benchmarks.few_images.cells import MIX, MIXED, Pool, cut, make_stream
from benchmarks.few_images.rows import calibration_floor
from benchmarks.few_images.summary import best_baseline, by_cell, calibration, gain, means
from models.strategies.values import Prediction
from service.intake.splitting import CROSS_VALIDATED_BELOW


def pool(name="birds", classes=12, per_class=120):
    targets = np.repeat(np.arange(classes), per_class)
    # Each image has a value of its own: its row.
    images = torch.arange(len(targets))[:, None, None, None].expand(-1, 3, 2, 2)
    labels = tuple(f"{name} {k}" for k in range(classes))
    return Pool(name, images, targets, images + len(targets), targets, labels)


def drawn(stream):
    parts = [part.task for part in stream.tasks]
    held_out = [task.held_out_images for task in parts if task.held_out_images is not None]
    return {
        int(image[0, 0, 0])
        for images in (*(t.images for t in parts), *held_out)
        for image in images
    }


def test_few_images_are_among_the_many_and_the_test_is_the_same():
    few, many = (make_stream(pool(), [], n_classes=10, images=n, seed=3) for n in (5, 50))
    assert drawn(few) < drawn(many)
    assert (len(drawn(few)), len(drawn(many))) == (50, 500)
    for a, b in zip(few.tasks, many.tasks, strict=True):
        assert a.test_labels == b.test_labels
        assert torch.equal(a.test_images, b.test_images)
    assert drawn(make_stream(pool(), [], n_classes=10, images=5, seed=4)) != drawn(few)


def test_classes_are_cut_into_tasks_of_five_and_what_is_left_is_not_taught():
    stream = make_stream(pool(), [], n_classes=10, images=3, seed=0)
    taught = [set(part.task.labels) for part in stream.tasks]
    assert [len(labels) for labels in taught] == [5, 5]
    assert not taught[0] & taught[1]
    assert len(stream.untaught) == 2 * 120
    asked = {int(image[0, 0, 0]) for part in stream.tasks for image in part.test_images}
    assert not asked & {int(image[0, 0, 0]) for image in stream.untaught}


@pytest.mark.parametrize(("images", "held_out"), [(1, 0), (3, 0), (5, 1), (10, 1), (50, 5)])
def test_what_is_held_out_is_what_the_service_would_hold_out(images, held_out):
    [part] = make_stream(pool(), [], n_classes=5, images=images, seed=1).tasks
    assert len(part.task.labels) == 5 * (images - held_out)
    assert len(part.task.held_out_labels) == 5 * held_out


@pytest.mark.parametrize(("images", "held_out"), [(10, 0), (19, 0), (20, 2), (50, 5)])
def test_so_it_is_for_a_strategy_that_measures_itself(images, held_out):
    rule = {"hold_out_from": CROSS_VALIDATED_BELOW}
    [part] = make_stream(pool(), [], n_classes=5, images=images, seed=1, **rule).tasks
    assert len(part.task.held_out_labels) == 5 * held_out
    # The same images are drawn, and the same asked about.
    [usual] = make_stream(pool(), [], n_classes=5, images=images, seed=1).tasks
    assert torch.equal(part.test_images, usual.test_images)


def test_a_mixed_learner_has_a_different_number_of_each():
    stream = make_stream(pool(), [], n_classes=6, images=MIXED, seed=1)
    labels = [
        name for part in stream.tasks for name in (*part.task.labels, *part.task.held_out_labels)
    ]
    assert sorted(labels.count(name) for name in set(labels)) == sorted(MIX)


def test_other_data_is_what_nobody_taught_where_all_classes_are():
    other = pool("fish", classes=2, per_class=4)
    stream = make_stream(pool(classes=5), [other], n_classes=5, images=1, seed=0)
    assert torch.equal(stream.untaught, other.test)
    with pytest.raises(ValueError, match="add other data"):
        make_stream(pool(classes=5), [], n_classes=5, images=1, seed=0)
    with pytest.raises(ValueError, match="too few"):
        make_stream(pool(), [], n_classes=5, images=121, seed=0)


def test_a_cut_gives_each_class_to_both_sides_and_no_image_to_two():
    data = LabelledImages(
        images=[np.full((1, 1, 3), i, np.uint8) for i in range(20)],
        targets=np.repeat([0, 1], 10),
        classes=("a", "b"),
    )
    train, test = cut(data, test_share=0.3)
    assert [np.bincount(part.targets).tolist() for part in (train, test)] == [[7, 7], [3, 3]]
    values = [int(image[0, 0, 0]) for part in (train, test) for image in part.images]
    assert sorted(values) == list(range(20))


def row(strategy, seed, last, images=5):
    cell = {"backbone": "b", "image_size": 8, "data": "d", "classes": 5, "images": images}
    return {**cell, "strategy": strategy, "seed": seed, "last": last, "auroc": last}


def test_what_is_gained_is_paired_by_seed():
    rows = [row("artsy", 0, 0.5), row("artsy", 1, 0.9), row("artsy", 2, 1.0)]
    rows += [
        row("simplecil", 0, 0.4),
        row("simplecil", 1, 0.8),
        row("ease", 0, 0.3),
        row("ease", 1, 0.5),
    ]
    [cell] = by_cell(rows).values()
    assert best_baseline(cell, "last") == "simplecil"
    own = gain(cell, "simplecil", "last")
    assert own is not None
    assert (round(own.mean, 6), round(own.error, 6)) == (10.0, 0.0)
    assert means(rows, "last") == pytest.approx({"artsy": 80.0, "ease": 40.0, "simplecil": 60.0})


def answers(n, *, seed=0, top=None):
    """Probabilities of three classes, of which the first is the largest."""
    scores = 0.4 + 0.6 * torch.rand(n, generator=torch.Generator().manual_seed(seed))
    scores = scores if top is None else torch.full((n,), top)
    probabilities = torch.stack([scores, 0.6 * (1 - scores), 0.4 * (1 - scores)], dim=1)
    return Prediction(
        probabilities=probabilities,
        currents=torch.zeros(n, 0),
        thresholds=torch.zeros(0),
        functional=torch.zeros(n, 0, dtype=torch.bool),
        passes=torch.ones(n, dtype=torch.int64),
        novelty=torch.zeros(n),
    )


@pytest.mark.parametrize("n", [15, 150, 1500])
def test_the_floor_is_the_error_that_calibrated_answers_have(n):
    prediction = answers(n)
    scores = prediction.probabilities[:, 0].double()
    errors = []
    for seed in range(400):
        generator = torch.Generator().manual_seed(1 + seed)
        right = torch.rand(n, dtype=torch.float64, generator=generator) < scores
        errors.append(calibration_error(prediction, right))

    assert calibration_floor(prediction) == pytest.approx(np.mean(errors), rel=0.05)
    assert calibration_floor(prediction) == calibration_floor(prediction)


def test_the_floor_falls_with_the_number_of_images_and_of_certain_answers_it_is_none():
    few, many = (calibration_floor(answers(n)) for n in (20, 2000))
    assert few > 5 * many > 0
    assert calibration_floor(answers(50, top=1.0)) == 0
    # All in one bin: the mean of |successes - n p| / n, which for p = 1/2 and n = 4 is 3/16.
    assert calibration_floor(answers(4, top=0.5)) == pytest.approx(3 / 16, abs=0.03)


def test_the_calibration_of_ours_is_told_with_its_floor():
    rows = [
        {**row("artsy", seed, 0.5), "calibration_errors": [0.5, error], "calibration_floor": 0.05}
        for seed, error in ((0, 0.06), (1, 0.08))
    ]
    [cell] = by_cell(rows).values()
    error, floor = calibration(cell)
    assert error is not None
    assert floor is not None
    assert (round(error.mean, 6), round(floor.mean, 6)) == (7.0, 5.0)

    del rows[1]["calibration_floor"]
    [cell] = by_cell(rows).values()
    assert calibration(cell)[1] is None
    [other] = by_cell([row("simplecil", 0, 0.5)]).values()
    assert calibration(other) == (None, None)


@pytest.mark.slow
def test_the_grid_is_measured_once_and_told(tmp_path, capsys):
    out = tmp_path / "few.json"
    photos = tmp_path / "photos"
    for name, shade in (("dark", 30), ("light", 220)):
        (photos / "tones" / name).mkdir(parents=True)
        for i in range(8):
            noise = np.random.default_rng((shade, i)).integers(0, 30, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(noise + np.uint8(shade)).save(photos / "tones" / name / f"{i}.png")
    command = ["--backbone", "tiny", "--photos", str(photos), "--images", "1", "4"]
    command += [
        "--seeds",
        "0",
        "--strategies",
        "artsy:epochs=1,simplecil,ranpac:epochs=1,ease:epochs=1",
    ]
    command += ["--data", "tones", "--out", str(out)]
    main(command)
    written = out.read_text()
    rows = json.loads(written)["rows"]
    assert [(r["images"], r["strategy"]) for r in rows] == [
        (n, name) for n in (1, 4) for name in ("artsy", "simplecil", "ranpac", "ease")
    ]
    assert {r["last"] for r in rows if r["strategy"] == "simplecil"} == {1.0}
    assert all(0 <= r["false_alarms"] <= 1 and len(r["calibration_errors"]) == 1 for r in rows)
    assert all(0 <= r["calibration_floor"] < 0.5 for r in rows)
    told = capsys.readouterr().out
    assert "over all cells" in told
    assert "Calibration error of artsy" in told
    main(command)
    assert out.read_text() == written
