import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.errors import CheckpointError
from models.fitting import Schedule, fit
from models.metaplasticity import MetaplasticityRule, plasticity

CPU = torch.device("cpu")
X = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40) % 3


def network(seed: int = 0) -> nn.Linear:
    head = nn.Linear(5, 3)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(seed))
    return head


def train(head: nn.Linear, rule: MetaplasticityRule | None = None) -> None:
    schedule = Schedule(
        epochs=3, batch_size=8, learning_rate=0.1, momentum=0, weight_decay=0, decay="none"
    )

    def loss_fn(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(head(x), y)

    ruled = {} if rule is None else {"rule": rule}
    fit(head.parameters(), X, Y, loss_fn, schedule, seed=0, device=CPU, **ruled)


def constant(value: float) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((3, 5), value)}


def test_plasticity_equals_the_formula():
    f, moved, s = 0.3, -0.02, 40.0

    found = plasticity(torch.tensor([f]), torch.tensor([moved]), s)

    expected = 1 - math.tanh(s * ((f - 1) / f) * moved) ** 2
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_the_ends_of_flexibility():
    flexibility = torch.tensor([0.0, 0.0, 1.0, 0.5])
    moved = torch.tensor([0.0, 1.0, 1e6, 0.0])

    assert plasticity(flexibility, moved, 1.0).tolist() == [0, 0, 1, 1]


def test_full_flexibility_is_plain_sgd_to_the_bit():
    ruled, plain = network(), network()
    rule = MetaplasticityRule({"weight": ruled.weight}, flexibility=constant(1.0), scale=1e5)
    for _ in range(2):
        rule.start_task()
        train(ruled, rule)
        train(plain)

    assert torch.equal(ruled.weight, plain.weight)
    assert torch.equal(ruled.bias, plain.bias)


def test_a_rigid_weight_freezes_once_it_has_moved_and_its_bias_does_not():
    head = network()
    rule = MetaplasticityRule({"weight": head.weight}, flexibility=constant(1e-4), scale=100.0)
    start = head.weight.detach().clone()
    rule.start_task()
    train(head, rule)
    after_first, bias = head.weight.detach().clone(), head.bias.detach().clone()

    rule.start_task()
    train(head, rule)

    assert (after_first != start).all()
    assert torch.equal(head.weight, after_first)
    assert not torch.equal(head.bias, bias)


def test_flexibility_is_drawn_once_and_old_rows_keep_theirs():
    def make(head: nn.Linear, **earlier: dict[str, torch.Tensor]) -> MetaplasticityRule:
        generator = torch.Generator().manual_seed(3)
        return MetaplasticityRule({"weight": head.weight}, generator=generator, **earlier)

    first = make(network())
    assert torch.equal(first.flexibility["weight"], make(network()).flexibility["weight"])
    assert first.flexibility["weight"].min() >= 0
    assert first.flexibility["weight"].max() < 1

    grown = make(nn.Linear(5, 4), flexibility=first.flexibility, initial=first.initial)

    assert torch.equal(grown.flexibility["weight"][:3], first.flexibility["weight"])
    assert torch.equal(grown.initial["weight"][:3], first.initial["weight"])


def test_the_scale_follows_the_first_task_and_stays():
    weight = nn.Parameter(torch.zeros(5))
    rule = MetaplasticityRule({"weight": weight})
    rule.start_task()
    rule.calibrate(2.0)
    assert rule.scale is None  # nothing has moved

    weight.data = torch.tensor([0.0, 0.1, -0.2, 0.4, 0.0])
    rule.calibrate(2.0)
    assert rule.scale == pytest.approx(10)
    weight.data += 1
    rule.calibrate(2.0)
    assert rule.scale == pytest.approx(10)


def test_state_brings_back_the_same_plasticity():
    head = network()
    rule = MetaplasticityRule({"weight": head.weight})
    rule.start_task()
    train(head, rule)
    rule.calibrate(1.0)
    state = rule.state_dict("rule.")
    again = MetaplasticityRule(
        {"weight": head.weight},
        flexibility={"weight": state["rule.flexibility.weight"]},
        initial={"weight": state["rule.initial.weight"]},
        scale=state["rule.scale"].item(),
    )

    rule.start_task()
    again.start_task()

    assert torch.equal(rule.plasticity["weight"], again.plasticity["weight"])
    assert rule.plasticity["weight"].min() < 0.5


def test_refuses_flexibility_that_does_not_fit():
    with pytest.raises(CheckpointError):
        MetaplasticityRule({"weight": network().weight}, flexibility={"weight": torch.ones(4, 5)})
