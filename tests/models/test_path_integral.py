import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.errors import CheckpointError
from models.path_integral import PathIntegral


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Trained:
    """A small network in training: everything that an interrupted run has to bring back."""

    def __init__(self, *, strength: float, importance: dict[str, torch.Tensor] | None = None):
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
        with torch.no_grad():
            for parameter in self.net.parameters():
                parameter.normal_(std=0.5, generator=generator())
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-2)
        self.rule = PathIntegral(
            dict(self.net.named_parameters()),
            damping=1e-3,
            strength=strength,
            importance=importance,
        )

    def step(self, x: torch.Tensor, y: torch.Tensor) -> float:
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.net(x), y)
        loss.backward()
        self.rule.before_step()
        self.optimizer.step()
        self.rule.after_step()
        return float(loss.detach())


def batches(n: int, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    source = generator(seed)
    return [
        (torch.randn(16, 4, generator=source), torch.randint(3, (16,), generator=source))
        for _ in range(n)
    ]


def test_path_and_importance_of_a_quadratic_loss_equal_the_hand_computation():
    # L = 3/2 (w - 2)^2 from w = 0 by gradient descent at rate 0.1: g = 3 (w - 2), delta = -0.1 g.
    weight = nn.Parameter(torch.zeros(1))
    rule = PathIntegral({"w": weight}, damping=0.5, strength=1.0)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (1.5 * (weight - 2) ** 2).sum().backward()
        rule.before_step()
        optimizer.step()
        rule.after_step()

    # Gradients -6 and 3 (0.6 - 2) = -4.2; moves 0.6 and 0.42; path 3.6 + 1.764.
    assert rule.path["w"].item() == pytest.approx(5.364)
    rule.consolidate()
    assert rule.importance["w"].item() == pytest.approx(5.364 / (1.02**2 + 0.5))
    assert rule.references["w"].item() == pytest.approx(1.02)
    assert rule.path["w"].item() == 0


def test_the_path_integral_sums_to_the_fall_of_the_loss():
    trained = Trained(strength=0.0)
    trained.optimizer = torch.optim.SGD(trained.net.parameters(), lr=1e-3, momentum=0.9)
    x, y = batches(1)[0]

    first = trained.step(x, y)
    for _ in range(300):
        last = trained.step(x, y)

    total = sum(float(path.sum()) for path in trained.rule.path.values())
    assert first - last > 0.1
    assert total == pytest.approx(first - last, rel=0.02)


def test_the_optimiser_sees_the_penalty_and_the_path_integral_does_not():
    importance = {
        name: torch.rand(p.shape) for name, p in Trained(strength=0).net.named_parameters()
    }
    trained = Trained(strength=0.7, importance=importance)
    with torch.no_grad():
        for parameter in trained.net.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator(1))
    x, y = batches(1)[0]
    parameters = list(trained.net.parameters())
    task_loss = F.cross_entropy(trained.net(x), y)
    of_task = torch.autograd.grad(task_loss, parameters, retain_graph=True)
    of_both = torch.autograd.grad(task_loss + trained.rule.penalty(), parameters)
    before = [parameter.detach().clone() for parameter in parameters]

    trained.step(x, y)

    for parameter, start, alone, both, path in zip(
        parameters, before, of_task, of_both, trained.rule.path.values(), strict=True
    ):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, both, atol=1e-6)
        assert torch.allclose(path, -alone * (parameter - start), atol=1e-7)
        assert not torch.allclose(path, -both * (parameter - start), atol=1e-7)


def test_without_strength_the_training_is_the_same_to_the_bit():
    measured, plain = Trained(strength=0.0), Trained(strength=0.0)
    measured.rule.importance["0.weight"].fill_(5)
    for x, y in batches(5):
        measured.step(x, y)
        plain.optimizer.zero_grad()
        F.cross_entropy(plain.net(x), y).backward()
        plain.optimizer.step()

    for one, other in zip(measured.net.parameters(), plain.net.parameters(), strict=True):
        assert torch.equal(one, other)


def test_importance_holds_parameters_back_and_never_turns_negative():
    held, free = Trained(strength=100.0), Trained(strength=0.0)
    for trained in (held, free):
        for x, y in batches(20):
            trained.step(x, y)
        trained.rule.consolidate()
        for x, y in batches(50, seed=1):
            trained.step(x, y)

    def distance(trained: Trained) -> float:
        pairs = zip(trained.net.parameters(), trained.rule.references.values(), strict=True)
        return sum(float((p.detach() - r).square().sum()) for p, r in pairs)

    assert distance(held) < 0.5 * distance(free)
    free.rule.path["0.weight"].fill_(-1e6)
    free.rule.consolidate()
    assert all(float(value.min()) >= 0 for value in free.rule.importance.values())


def test_an_interrupted_task_goes_on_to_the_same_bits():
    data = batches(12)
    straight = Trained(strength=0.5)
    for x, y in data[:6]:
        straight.step(x, y)
    straight.rule.consolidate()
    for x, y in data[6:9]:
        straight.step(x, y)
    net, optimizer = copy.deepcopy((straight.net.state_dict(), straight.optimizer.state_dict()))
    state = straight.rule.state_dict("rule.")

    resumed = Trained(strength=0.5)
    resumed.net.load_state_dict(net)
    resumed.optimizer.load_state_dict(optimizer)
    resumed.rule.load_state_dict(state, "rule.")
    for trained in (straight, resumed):
        for x, y in data[9:]:
            trained.step(x, y)
        trained.rule.consolidate()

    for one, other in zip(straight.net.parameters(), resumed.net.parameters(), strict=True):
        assert torch.equal(one, other)
    for name, value in straight.rule.importance.items():
        assert torch.equal(value, resumed.rule.importance[name])


def test_new_rows_of_a_head_start_free_with_their_initial_value_as_reference():
    head = nn.Parameter(torch.arange(6.0).reshape(3, 2))

    rule = PathIntegral(
        {"head": head}, damping=1.0, strength=1.0, importance={"head": torch.ones(2, 2)}
    )

    assert rule.importance["head"].tolist() == [[1, 1], [1, 1], [0, 0]]
    assert torch.equal(rule.references["head"], head)
    assert rule.penalty().item() == 0


def test_accumulates_in_float32_for_half_precision_parameters():
    weight = nn.Parameter(torch.zeros(2, dtype=torch.float16))

    rule = PathIntegral({"w": weight}, damping=1.0, strength=1.0)

    assert rule.path["w"].dtype == rule.importance["w"].dtype == torch.float32


def test_refuses_state_that_does_not_fit():
    weight = nn.Parameter(torch.zeros(2, 3))
    rule = PathIntegral({"w": weight}, damping=1.0, strength=1.0)

    with pytest.raises(CheckpointError, match="missing"):
        rule.load_state_dict({})
    with pytest.raises(CheckpointError, match="does not fit"):
        PathIntegral({"w": weight}, damping=1.0, strength=1.0, importance={"w": torch.zeros(3, 3)})
