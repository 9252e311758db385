from dataclasses import replace

import pytest
import torch

from models import shown
from models.errors import CheckpointError, ShapeError
from models.shown import FeatureRecords, Shown
from models.statistics import Drift

WIDTH = 6


def draw(*counts: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    centres = 3 * torch.randn(len(counts), WIDTH, generator=generator)
    noise = torch.randn(len(targets), WIDTH, generator=generator)
    order = torch.randperm(len(targets), generator=generator)
    return (centres[targets] + noise)[order], targets[order]


def everything(features, targets, n_classes: int) -> Shown:
    records = FeatureRecords.of(features, targets, n_classes, seed=1)
    return Shown.merged([(1, torch.arange(n_classes), records, None)], n_classes, WIDTH)


def test_keeps_a_row_an_image_and_means_of_all():
    features, targets = draw(3, 5)

    seen = everything(features, targets, 2)

    assert seen.counts.tolist() == [3, 5]
    assert seen.targets.tolist() == [0] * 3 + [1] * 5
    for k in range(2):
        expected = features[targets == k].double()
        assert torch.allclose(seen.rows[seen.targets == k], expected, atol=1e-2)
        assert torch.allclose(seen.means[k], expected.mean(dim=0), atol=1e-6)
    assert seen.freedom == 6


def test_of_too_many_images_a_sample_stands_for_all(monkeypatch):
    monkeypatch.setattr(shown, "MOST_ROWS", 4)
    features, targets = draw(40, 3)

    seen = everything(features, targets, 2)

    assert torch.bincount(seen.targets).tolist() == [4, 3]
    assert seen.counts.tolist() == [40, 3]
    assert seen.weights.tolist() == [10.0] * 4 + [1.0] * 3
    assert torch.allclose(seen.means[0], features[targets == 0].double().mean(dim=0), atol=1e-6)
    other = FeatureRecords.of(features, targets, 2, seed=1)
    assert torch.equal(other.rows, FeatureRecords.of(features, targets, 2, seed=1).rows)


def test_tasks_add_up_whatever_the_cut():
    features, targets = draw(6, 6, 4)
    first, second = features[:9], features[9:]
    parts = []
    for index, (x, y) in enumerate(((first, targets[:9]), (second, targets[9:])), start=1):
        classes, local = y.unique(return_inverse=True)
        records = FeatureRecords.of(x, local, len(classes), seed=index)
        parts.append((index, classes, records, None))

    both = Shown.merged(parts, 3, WIDTH)
    at_once = everything(features, targets, 3)

    assert torch.equal(both.counts, at_once.counts)
    assert torch.allclose(both.means, at_once.means, atol=1e-6)
    assert torch.allclose(both.scatter, at_once.scatter, rtol=1e-3, atol=1e-3)
    assert both.tasks.tolist() == [1] * 9 + [2] * 7
    joined = Shown.merged(parts[:1], 3, WIDTH).joined(*parts[1][:3])
    assert torch.allclose(joined.means, both.means)
    assert torch.equal(joined.rows, both.rows)


def test_rows_left_out_are_as_never_seen():
    features, targets = draw(5, 5)
    seen = everything(features, targets, 2)
    left_out = torch.zeros(10, dtype=torch.bool)
    left_out[[0, 7, 8]] = True

    rest = seen.without(left_out)

    assert rest.counts.tolist() == [4, 3]
    for k in range(2):
        expected = rest.rows[rest.targets == k].mean(dim=0)
        assert torch.allclose(rest.means[k], expected, atol=2e-3)


@pytest.mark.parametrize("n_left_out", [3, 40])
def test_the_scatter_of_what_stays_is_that_of_its_rows(n_left_out):
    features, targets = draw(400, 30)
    records = FeatureRecords.of(
        features, targets, 2, seed=1
    )  # some rows stand for more images than one
    seen = Shown.merged([(1, torch.arange(2), records, None)], 2, WIDTH)
    left_out = torch.arange(len(seen.rows)) % (len(seen.rows) // n_left_out) == 0

    rest = seen.without(left_out)

    assert rest.known_scatter is not None
    added_up = replace(rest, known_scatter=None).scatter
    assert torch.allclose(rest.scatter, added_up, rtol=1e-4, atol=1e-3)
    # It is of no use to anything else than these rows.
    assert rest.select(torch.arange(4)).known_scatter is None
    drift = Drift(torch.eye(WIDTH).double(), torch.ones(WIDTH).double())
    assert torch.allclose(rest.moved(drift).scatter, 4 * added_up, rtol=1e-4, atol=1e-2)


def test_all_moves_with_the_features():
    features, targets = draw(5, 5)
    generator = torch.Generator().manual_seed(3)
    drift = Drift(
        0.1 * torch.randn(WIDTH, WIDTH, generator=generator).double(),
        torch.randn(WIDTH, generator=generator).double(),
    )
    records = FeatureRecords.of(features, targets, 2, seed=1)

    there = Shown.merged([(1, torch.arange(2), records, drift)], 2, WIDTH)

    here = everything(features, targets, 2)
    assert torch.allclose(there.rows, drift.apply(here.rows))
    assert torch.allclose(there.scatter, drift.carry(here.scatter), atol=1e-2)
    assert torch.allclose(here.moved(drift).means, there.means)
    assert here.moved(None) is here


def test_is_stored_and_read_back_and_trimmed():
    features, targets = draw(3, 4, 5)
    records = FeatureRecords.of(features, targets, 3, seed=1)

    again = FeatureRecords.from_state(records.state_dict("x."), "x.", 3, WIDTH)
    fewer = again.select(torch.tensor([True, False, True]))

    assert all(torch.equal(vars(again)[name], tensor) for name, tensor in vars(records).items())
    assert fewer.counts.tolist() == [3, 5]
    assert torch.equal(fewer.rows, torch.cat([records.rows[:3], records.rows[7:]]))


@pytest.mark.parametrize(
    "damage",
    [
        {"x.kept": torch.tensor([3, 4, 0])},
        {"x.kept": torch.tensor([3, 4, 6])},
        {"x.kept": torch.tensor([-3, 10, 5])},
        {"x.counts": torch.tensor([1.0, 4.0, 5.0], dtype=torch.float64)},
        {"x.untrained": torch.tensor([4, 4, 5])},
        {"x.untrained": torch.tensor([-1, 4, 5])},
        {"x.rows": torch.zeros(12, WIDTH)},
        {"x.means": torch.zeros(3, WIDTH + 1, dtype=torch.float64)},
        {"x.means": torch.zeros(3, WIDTH)},
    ],
)
def test_damaged_records_are_refused(damage):
    features, targets = draw(3, 4, 5)
    state = FeatureRecords.of(features, targets, 3, seed=1).state_dict("x.") | damage

    with pytest.raises(CheckpointError, match="the features of a task"):
        FeatureRecords.from_state(state, "x.", 3, WIDTH)


def test_refuses_targets_that_do_not_match():
    with pytest.raises(ShapeError):
        FeatureRecords.of(torch.zeros(3, WIDTH), torch.zeros(2, dtype=torch.int64), 1, seed=0)


def test_rows_of_images_that_trained_nothing_come_first(monkeypatch):
    monkeypatch.setattr(shown, "MOST_ROWS", 5)
    features, targets = draw(8, 4)
    trained = torch.rand(12, generator=torch.Generator().manual_seed(2)) < 0.6

    records = FeatureRecords.of(features, targets, 2, seed=1, trained=trained)
    seen = Shown.merged([(1, torch.arange(2), records, None)], 2, WIDTH)

    for k in range(2):
        fresh = int(((targets == k) & ~trained).sum())
        assert records.untrained[k] == min(fresh, int(records.kept[k]))
        mine = seen.untrained[seen.targets == k]
        assert mine.tolist() == sorted(mine.tolist(), reverse=True)
        expected = features[(targets == k) & ~trained]
        found = seen.rows[(seen.targets == k) & seen.untrained]
        assert all((row - expected.double()).abs().sum(dim=1).min() < 0.05 for row in found)
