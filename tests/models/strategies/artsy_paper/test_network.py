import torch

from models.fitting import Schedule
from models.strategies.artsy_paper.network import SynapseNetwork


def test_learns_to_fire_on_its_own_task_only():
    generator = torch.Generator().manual_seed(0)
    own = torch.randn(80, 6, generator=generator) + 2
    others = torch.randn(240, 6, generator=generator) - 2
    torch.manual_seed(0)
    network = SynapseNetwork(6)

    network.learn(own, others, Schedule(epochs=10, batch_size=16, learning_rate=0.05), seed=0)

    assert (network.current(own) >= 0.5).float().mean() > 0.95
    assert (network.current(others) < 0.5).float().mean() > 0.95
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_currents_lie_between_zero_and_one():
    currents = SynapseNetwork(4).current(100 * torch.randn(10, 4))

    assert currents.shape == (10,)
    assert ((currents >= 0) & (currents <= 1)).all()
