import pytest
import torch

from models.errors import CheckpointError, ConfigError
from models.strategies.ewc import EWC, EWCConfig, diagonal_fisher
from models.strategies.finetune import Finetune, FinetuneConfig
from models.strategies.network import LinearNetwork, competing_classes, cross_entropy_among

QUICK = {"epochs": 2, "bottleneck": 8}


def naive_fisher(network: LinearNetwork, images, targets, competing) -> dict[str, torch.Tensor]:
    """One backward an image."""
    copy = network.to_train(network.n_classes, seed=0)
    copy.adapter.eval()
    sums = {name: torch.zeros_like(p) for name, p in copy.named_parameters()}
    for image, target in zip(images, targets, strict=True):
        loss = cross_entropy_among(competing, copy(image[None]), target[None])
        for (name, _), gradient in zip(
            copy.named_parameters(), torch.autograd.grad(loss, copy.parameters()), strict=True
        ):
            sums[name] += gradient.square()
    return {name: total / len(images) for name, total in sums.items()}


@pytest.mark.parametrize("softmax", ["all", "task"])
def test_fisher_equals_one_backward_an_image(backbone, make_task, softmax):
    tasks = [make_task(1, ("a", "b")), make_task(2, ("c", "d"))]
    strategy = EWC(backbone, EWCConfig(**QUICK))
    for task in tasks:
        strategy.learn(task)
    images, targets = tasks[1].images[::2], strategy.targets(tasks[1].labels)[::2]
    competing = competing_classes(targets, 4, softmax)

    found = diagonal_fisher(strategy.network, images, targets, competing, batch_size=5)

    expected = naive_fisher(strategy.network, images, targets, competing)
    assert set(found) == set(expected)
    for name, information in expected.items():
        assert information.max() > 0, name
        assert torch.allclose(found[name], information, rtol=1e-3, atol=1e-9), name
    assert not any(layer._forward_hooks for layer in strategy.network.linear_layers().values())


def test_the_running_fisher_decays_and_grows_with_the_head(backbone, make_task):
    first, second = make_task(1, ("a", "b")), make_task(2, ("c", "d", "e"))
    strategy = EWC(backbone, EWCConfig(decay=0.5, **QUICK))
    strategy.learn(first)
    old = dict(strategy.fisher)
    strategy.learn(second)

    targets = strategy.targets(second.labels)
    competing = competing_classes(targets, 5, "task")
    new = diagonal_fisher(strategy.network, second.images, targets, competing)
    head = strategy.fisher["head.weight"]
    assert torch.allclose(head[:2], 0.5 * old["head.weight"] + new["head.weight"][:2])
    assert torch.equal(head[2:], new["head.weight"][2:])
    name = "adapter.blocks.1.up.weight"
    assert torch.allclose(strategy.fisher[name], 0.5 * old[name] + new[name])


def test_without_strength_among_all_classes_it_is_finetune_to_the_bit(backbone, make_task):
    tasks = [make_task(1, ("a", "b")), make_task(2, ("c",)), make_task(3, ("d", "a", "e"))]
    plain = Finetune(backbone, FinetuneConfig(**QUICK))
    strategy = EWC(backbone, EWCConfig(strength=0, softmax="all", **QUICK))
    for task in tasks:
        plain.learn(task)
        strategy.learn(task)

    images = torch.cat([task.held_out_images for task in tasks])
    assert torch.equal(strategy.predict_logits(images), plain.predict_logits(images))


def test_the_stiffer_the_springs_the_less_moves_what_mattered(backbone, make_task):
    def moved(strength: float) -> tuple[float, float]:
        strategy = EWC(
            backbone, EWCConfig(strength=strength, softmax="all", epochs=8, bottleneck=8)
        )
        strategy.learn(make_task(1, ("a", "b")))
        fisher, before = strategy.fisher, dict(strategy.network.named_parameters())
        strategy.learn(make_task(2, ("c", "d")))
        weighted = plain = 0.0
        for name, parameter in strategy.network.named_parameters():
            gap = (parameter[: len(before[name])] - before[name]).square()
            weighted += float((fisher[name] * gap).sum())
            plain += float(gap.sum())
        return weighted, weighted / plain

    loose, medium, stiff = moved(0), moved(1e3), moved(1e7)

    assert stiff[0] < medium[0] < loose[0]
    # What still moves is what mattered less.
    assert medium[1] < loose[1]


def test_springs_of_any_strength_do_not_overshoot(backbone, make_task):
    strategy = EWC(backbone, EWCConfig(strength=1e12, **QUICK))
    for index, labels in enumerate([("a", "b"), ("c", "d")], start=1):
        report = strategy.learn(make_task(index, labels))

    assert report.details["loss"] < 10


def test_old_tasks_are_still_answered_where_finetune_answers_the_newest_only(backbone, make_task):
    tasks = [make_task(1, ("a", "b")), make_task(2, ("c", "d")), make_task(3, ("e", "f"))]
    plain = Finetune(backbone, FinetuneConfig(epochs=8, bottleneck=8))
    strategy = EWC(backbone, EWCConfig(epochs=8, bottleneck=8))
    for task in tasks:
        plain.learn(task)
        strategy.learn(task)

    images = torch.cat([task.held_out_images for task in tasks[:2]])
    targets = plain.targets(tasks[0].held_out_labels + tasks[1].held_out_labels)

    def known(learned) -> float:
        return float((learned.predict_logits(images).argmax(dim=1) == targets).float().mean())

    assert known(plain) == 0
    assert known(strategy) > 0.3


def test_refuses_a_state_without_the_fisher(backbone, make_task):
    strategy = EWC(backbone, EWCConfig(**QUICK))
    strategy.learn(make_task(1, ("a", "b")))
    state = strategy.state_dict()
    del state["fisher.head.bias"]

    with pytest.raises(CheckpointError, match=r"head\.bias"):
        strategy.load_state_dict(state)


@pytest.mark.parametrize("field", [{"strength": -1.0}, {"decay": 1.5}, {"softmax": "?"}])
def test_refuses_values_out_of_range(field):
    with pytest.raises(ConfigError):
        EWCConfig(**field)
