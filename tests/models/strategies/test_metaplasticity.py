import pytest
import torch

from models.errors import CheckpointError, ConfigError
from models.statistics import ClassStatistics
from models.strategies.metaplasticity import Metaplasticity, MetaplasticityConfig, with_others


@pytest.fixture
def make(backbone):
    def make_one(**config) -> Metaplasticity:
        return Metaplasticity(backbone, MetaplasticityConfig(**{"width": 16, **config}))

    return make_one


def test_rigid_weights_keep_what_the_first_task_made_of_them(make, make_task):
    strategy = make(relative_scale=100.0)
    strategy.learn(make_task(1, ("a", "b")))
    before = strategy.head.second.weight.detach().clone()
    moved = (before - strategy.initial["second"]).abs()
    rigid = (strategy.flexibility["second"] < 0.1) & (moved > moved.median())

    strategy.learn(make_task(2, ("c", "d")))

    after = strategy.head.second.weight
    assert rigid.any()
    assert torch.equal(after[rigid], before[rigid])
    assert not torch.equal(after, before)


def test_flexibility_and_initial_values_are_never_drawn_again(make, make_task):
    strategy = make()
    strategy.learn(make_task(1, ("a", "b")))
    flexibility, initial = dict(strategy.flexibility), dict(strategy.initial)
    scale = strategy.scale

    strategy.learn(make_task(2, ("c", "d")))

    assert strategy.scale == scale
    for name, known in flexibility.items():
        assert torch.equal(strategy.flexibility[name][: len(known)], known)
        assert torch.equal(strategy.initial[name][: len(known)], initial[name])
    assert len(strategy.flexibility["output"]) == 4


def test_a_first_task_that_moves_nothing_leaves_the_scale_open(make, make_task):
    strategy = make()
    strategy.learn(make_task(1, ("a",)))
    assert strategy.scale is None

    strategy.learn(make_task(2, ("b",)))

    assert strategy.scale is not None


def test_draws_of_other_classes_have_labels_that_are_wrong_or_right_as_asked():
    far_apart = 100 * torch.eye(4, 6)
    generator = torch.Generator().manual_seed(0)
    old = torch.arange(40) % 4
    noise = torch.randn(40, 6, generator=generator)
    known = ClassStatistics.of(far_apart[old] + noise, old, 4)
    features, targets = torch.randn(30, 6, generator=generator), torch.full((30,), 3)

    for others in ("permuted", "replayed"):
        shown, labels = with_others(features, targets, known, others, generator)
        assert torch.equal(shown[:30], features)
        assert torch.equal(labels[:30], targets)
        drawn = torch.cdist(shown[30:], far_apart).argmin(dim=1)
        assert drawn.bincount().tolist() == [10, 10, 10]
        assert not (labels[30:] == 3).any()
        assert ((labels[30:] == drawn) == (others == "replayed")).all()

    alone, _ = with_others(features, targets, known, "none", generator)
    assert torch.equal(alone, features)


def test_no_wrong_label_is_made_up_where_there_is_none():
    known = ClassStatistics.of(torch.randn(8, 3), torch.arange(8) % 2, 2)
    features, targets = torch.randn(4, 3), torch.ones(4, dtype=torch.int64)

    shown, _ = with_others(features, targets, known, "permuted", torch.Generator())

    assert torch.equal(shown, features)


def test_refuses_a_state_that_does_not_fit(make, make_task):
    strategy = make()
    strategy.learn(make_task(1, ("a", "b")))
    state = strategy.state_dict()
    other = make(width=8)
    other.classes_ = strategy.classes_

    with pytest.raises(CheckpointError):
        other.load_state_dict(state)


@pytest.mark.parametrize(
    "wrong", [{"width": 0}, {"relative_scale": 0}, {"learning_rate": -1}, {"others": "some"}]
)
def test_refuses_hyperparameters_out_of_range(make, wrong):
    with pytest.raises(ConfigError):
        make(**wrong)
