import pytest
import torch
from torch.nn import functional as F

from models.errors import CheckpointError, ConfigError
from models.strategies.network import (
    LinearNetwork,
    TrainingConfig,
    competing_classes,
    cross_entropy_among,
)


@pytest.fixture
def network(backbone) -> LinearNetwork:
    trained = LinearNetwork(backbone, bottleneck=8).to_train(2, seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return trained.freeze()


@pytest.mark.parametrize(
    "field", [{"epochs": 0}, {"batch_size": 0}, {"bottleneck": 0}, {"learning_rate": 0.0}]
)
def test_refuses_training_that_trains_nothing(field):
    with pytest.raises(ConfigError):
        TrainingConfig(**field)


def test_a_grown_copy_answers_as_before_for_old_classes_and_zero_for_new_ones(network, make_task):
    images = make_task(1, ("a",)).images

    grown = network.to_train(5, seed=2).freeze()

    assert torch.allclose(grown.logits(images)[:, :2], network.logits(images), atol=1e-6)
    assert grown.logits(images)[:, 2:].count_nonzero() == 0


def test_training_the_copy_leaves_the_original_alone(network, make_task):
    images = make_task(1, ("a",)).images
    before = network.logits(images)

    copy = network.to_train(2, seed=2)
    copy(images).sum().backward()
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter -= parameter.grad

    assert torch.equal(network.logits(images), before)
    assert not torch.equal(copy.freeze().logits(images), before)


def test_what_is_trained_goes_by_the_names_of_the_state(network):
    state = network.state_dict()

    assert {name for name, _ in network.named_parameters()} == set(state)
    layers = network.linear_layers()
    assert {f"{name}.{part}" for name in layers for part in ("weight", "bias")} == set(state)


def test_refuses_a_state_of_other_classes(network, backbone):
    with pytest.raises(CheckpointError):
        LinearNetwork(backbone, bottleneck=8).load_state_dict(network.state_dict(), 3)
    with pytest.raises(CheckpointError):
        LinearNetwork(backbone, bottleneck=4).load_state_dict(network.state_dict(), 2)


@pytest.mark.parametrize(
    ("targets", "softmax", "expected"),
    [
        ([2, 3, 2], "task", [False, False, True, True]),
        ([2, 3, 2], "all", [True, True, True, True]),
        ([3, 3], "task", [True, True, True, True]),
    ],
)
def test_a_class_alone_competes_with_all(targets, softmax, expected):
    assert competing_classes(torch.tensor(targets), 4, softmax).tolist() == expected


def test_classes_that_do_not_compete_get_no_gradient():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    targets = torch.tensor([1, 3, 3, 1, 1, 3])
    competing = torch.tensor([False, True, False, True])

    loss = cross_entropy_among(competing, logits, targets)
    loss.backward()

    assert torch.allclose(loss, F.cross_entropy(logits[:, [1, 3]], (targets == 3).long()))
    assert logits.grad[:, [0, 2]].count_nonzero() == 0
