import pytest
import torch

from models.errors import CheckpointError, ShapeError
from models.statistics import ClassGaussians, ClassStatistics, Drift


def features(n: int, width: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_hand_computed_means_and_scatter():
    x = torch.tensor([[0.0, 0.0], [2.0, 0.0], [5.0, 5.0]])

    statistics = ClassStatistics.of(x, torch.tensor([0, 0, 1]), 2)

    assert statistics.counts.tolist() == [2, 1]
    assert statistics.means.tolist() == [[1, 0], [5, 5]]
    assert statistics.scatter.tolist() == [[2, 0], [0, 0]]
    assert statistics.covariance.tolist() == [[2, 0], [0, 0]]


def test_adding_in_parts_equals_adding_at_once():
    x, y = features(60), torch.arange(60) % 4
    parts = ClassStatistics.empty(5)
    parts.add(x[:20], y[:20] % 2, 2)
    parts.add(x[20:], y[20:], 4)
    at_once = ClassStatistics.of(x, torch.cat([y[:20] % 2, y[20:]]), 4)

    assert torch.allclose(parts.means, at_once.means)
    assert torch.allclose(parts.scatter, at_once.scatter)
    assert torch.equal(parts.counts, at_once.counts)


def test_transport_by_an_exact_affine_map_equals_recomputing():
    x, y = features(200), torch.arange(200) % 3
    matrix = torch.eye(5, dtype=torch.float64) + 0.1 * features(5, seed=1)
    moved = x @ matrix + features(1, seed=2)
    statistics = ClassStatistics.of(x, y, 3)

    statistics.transport(Drift.fit(x, moved, ridge=1e-9))

    expected = ClassStatistics.of(moved, y, 3)
    assert torch.allclose(statistics.means, expected.means, atol=1e-6)
    assert torch.allclose(statistics.scatter, expected.scatter, atol=1e-5)


def test_no_move_is_no_drift():
    x = features(50)
    drift = Drift.fit(x, x)

    assert torch.allclose(drift.apply(x), x)


def test_refuses_features_that_do_not_match_their_targets():
    with pytest.raises(ShapeError):
        ClassStatistics.of(features(3), torch.tensor([0, 1]), 2)


def test_state_round_trip_and_its_refusals():
    statistics = ClassStatistics.of(features(10), torch.arange(10) % 2, 2)
    state = statistics.state_dict("s.")

    restored = ClassStatistics.from_state(state, "s.")

    assert torch.equal(restored.scatter, statistics.scatter)
    with pytest.raises(CheckpointError, match="incomplete"):
        ClassStatistics.from_state({}, "s.")
    with pytest.raises(CheckpointError, match="shapes"):
        ClassStatistics.from_state({**state, "s.counts": torch.zeros(3)}, "s.")


def test_two_moves_as_one_carry_statistics_as_the_two_do():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(40, 3, dtype=torch.float64, generator=generator)
    y = torch.arange(40) % 2
    linear = torch.randn(2, 3, 3, dtype=torch.float64, generator=generator)
    offset = torch.randn(2, 3, dtype=torch.float64, generator=generator)
    first, second = (Drift(*parts) for parts in zip(linear, offset, strict=True))
    stepwise = ClassGaussians.empty(3)
    stepwise.add(x, y, 2)
    at_once = stepwise.copy()

    stepwise.transport(first)
    stepwise.transport(second)
    at_once.transport(first.then(second))

    assert torch.allclose(at_once.means, stepwise.means)
    assert torch.allclose(at_once.scatters, stepwise.scatters)
    expected = ClassGaussians.empty(3)
    expected.add(second.apply(first.apply(x)), y, 2)
    assert torch.allclose(at_once.means, expected.means)
    assert torch.allclose(at_once.scatters, expected.scatters)
    assert torch.allclose(at_once.scatters.sum(dim=0), expected.scatter)
    assert first.then(None) is first
