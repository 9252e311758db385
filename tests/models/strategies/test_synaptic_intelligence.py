import pytest
import torch

from models.errors import CheckpointError, ConfigError
from models.strategies.synaptic_intelligence import (
    SynapticIntelligence,
    SynapticIntelligenceConfig,
)


@pytest.fixture
def make(backbone):
    def make_one(**config) -> SynapticIntelligence:
        quick = {"epochs": 3, "bottleneck": 8, "augmentation": "none", **config}
        return SynapticIntelligence(backbone, SynapticIntelligenceConfig(**quick))

    return make_one


def parameters(strategy: SynapticIntelligence) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in strategy.network.named_parameters()}


def moved(strategy: SynapticIntelligence, since: dict[str, torch.Tensor]) -> float:
    now = parameters(strategy)
    return sum(float((now[name][: len(p)] - p).square().sum()) for name, p in since.items())


def test_the_penalty_holds_what_the_first_task_needed(make, make_task):
    distances = []
    for strength in (0.0, 1e6):
        strategy = make(strength=strength)
        strategy.learn(make_task(1, ("a", "b")))
        before = parameters(strategy)
        report = strategy.learn(make_task(2, ("c", "d")))
        distances.append(moved(strategy, before))
        assert (report.details["penalty"] > 0) == (strength > 0)

    assert distances[1] < 0.5 * distances[0]


def test_importance_covers_every_parameter_and_grows_with_the_head(make, make_task):
    strategy = make()
    strategy.learn(make_task(1, ("a", "b")))
    first = dict(strategy.importance)
    strategy.learn(make_task(2, ("c",)))

    assert strategy.importance.keys() == parameters(strategy).keys()
    assert strategy.importance["head.weight"].shape[0] == 3
    assert float(first["head.weight"].sum()) > 0
    for name, value in strategy.importance.items():
        assert float(value.min()) >= 0, name


def test_with_the_tasks_own_softmax_old_outputs_stay(make, make_task):
    strategy = make(softmax="task")
    strategy.learn(make_task(1, ("a", "b")))
    head = strategy.network.head.weight.clone()

    strategy.learn(make_task(2, ("c", "d")))

    assert torch.equal(strategy.network.head.weight[:2], head)
    assert not torch.equal(strategy.network.head.weight[2:], torch.zeros_like(head))


def test_refuses_a_state_without_importance(make, make_task):
    strategy = make()
    strategy.learn(make_task(1, ("a", "b")))
    state = strategy.state_dict()
    del state["importance.head.bias"]
    other = make()
    other.classes_ = strategy.classes_

    with pytest.raises(CheckpointError, match=r"head\.bias"):
        other.load_state_dict(state)


@pytest.mark.parametrize("wrong", [{"strength": -1}, {"damping": 0}, {"softmax": "some"}])
def test_refuses_hyperparameters_out_of_range(make, wrong):
    with pytest.raises(ConfigError):
        make(**wrong)


def test_says_what_it_does_not_do():
    assert "alone it does not solve class-incremental" in SynapticIntelligence.summary
