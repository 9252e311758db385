from dataclasses import replace

import torch
from rich.console import Console

from benchmarks.synaptic_intelligence import (
    EXPERIMENTS,
    Experiment,
    Images,
    initialised,
    perceptron,
    permuted,
    run,
    show,
)

CPU = torch.device("cpu")


def digits(n: int, seed: int) -> Images:
    """Ten classes, each bright in pixels of its own."""
    targets = torch.arange(n) % 10
    inputs = 0.3 * torch.rand(n, 784, generator=torch.Generator().manual_seed(seed))
    for k in range(10):
        inputs[targets == k, 70 * k : 70 * k + 40] += 0.7
    return Images(inputs, targets)


def small(name: str) -> Experiment:
    return replace(EXPERIMENTS[name], network=lambda: perceptron(16), tasks=2, epochs=20)


def test_split_keeps_targets_and_outputs_together_and_learns():
    experiment = small("split-mnist")
    increments = experiment.increments(digits(400, 0), digits(100, 1), 2, 0)

    assert increments[1].outputs == (2, 4)
    assert increments[1].train.targets.unique().tolist() == [2, 3]
    rows = run(experiment, increments, strength=1.0, seed=0, device=CPU)
    again = run(experiment, increments, strength=1.0, seed=0, device=CPU)
    assert rows == again
    assert rows[1][1] > 0.9


def test_only_later_tasks_are_permuted_and_each_in_its_own_way():
    images = digits(20, 0)

    first, second, third = permuted(images, images, 3, seed=0)

    assert torch.equal(first.inputs(images), images.inputs)
    assert not torch.equal(second.inputs(images), third.inputs(images))
    assert torch.equal(second.inputs(images).sort(dim=1).values, images.inputs.sort(dim=1).values)


def test_the_last_layer_starts_at_zero_only_where_the_paper_says_so():
    assert not initialised(small("split-mnist"))[-1].weight.any()
    assert initialised(small("permuted-mnist"))[-1].weight.any()


def test_the_network_for_cifar_has_an_output_a_class():
    with torch.no_grad():
        assert initialised(EXPERIMENTS["cifar"])(torch.rand(2, 3, 32, 32)).shape == (2, 60)


def test_the_table_names_what_the_paper_found():
    runs = [
        {"seed": 0, "strength": c, "accuracies": [[0.9, 0.5], [0.5 + c, 0.9]]} for c in (0.0, 0.1)
    ]
    console = Console(record=True, width=100)

    show("permuted-mnist", {"runs": runs, "seeds": [0], "shortened": True}, console)

    text = console.export_text()
    assert "96.9 %" in text
    assert "60.0%" in text
    assert "shortened" in text
