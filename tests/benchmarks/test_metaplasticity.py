from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from benchmarks.metaplasticity import (
    EXPERIMENTS,
    QUICK,
    Items,
    K,
    Memory,
    Presentation,
    correlation,
    mixed_sequence,
    mixed_with_others,
    show,
)

PROTOCOL = replace(QUICK, images_per_item=18, batch_size=12, width=16, epochs=1)


def items(n: int = 18) -> Items:
    """Ten clusters."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(n * K) % K
    features = 3 * torch.eye(K, 12)[targets]
    noise = torch.randn(2, *features.shape, generator=generator)
    return Items(
        train=features + noise[0], targets=targets, test=features + noise[1], truth=targets
    )


def test_others_are_as_many_and_their_labels_are_wrong():
    data = items()

    features, labels = mixed_with_others(data, Presentation(4, 7), torch.Generator())

    assert len(features) == 36
    assert (labels[:18] == 7).all()
    origin = (features[:, None] == data.train).all(dim=2).int().argmax(dim=1)
    of = data.targets[origin]
    assert (of[:18] == 4).all()
    assert of[18:].bincount(minlength=K).tolist() == [2, 2, 2, 2, 0, 2, 2, 2, 2, 2]
    assert (labels[18:] != of[18:]).all()
    assert (labels[18:] != 4).all()


def test_every_kind_sees_the_same_images_and_the_same_start():
    data = items()
    hybrid, conventional = (Memory(kind, data, PROTOCOL, 0) for kind in ("hybrid", "conventional"))

    for memory in (hybrid, conventional):
        memory.show(Presentation(1, 1))

    # Nothing is stiff before anything has moved, so the first item leaves the same weights.
    pairs = zip(hybrid.network.parameters(), conventional.network.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    hybrid.show(Presentation(2, 2))
    conventional.show(Presentation(2, 2))
    assert not torch.equal(hybrid.network[0].weight, conventional.network[0].weight)


def test_an_answer_that_is_always_given_is_not_remembered():
    memory = Memory("hybrid", items(), PROTOCOL, 0)
    with torch.no_grad():
        memory.network[-1].weight.zero_()
        memory.network[-1].bias.copy_(torch.eye(K)[3])

    assert memory.accuracies()[3] == 1
    assert memory.n_remembered() == 0


def test_frequency_has_nothing_to_do_with_the_order():
    sequence = mixed_sequence(5)

    assert np.bincount(sequence).tolist() == list(range(1, K + 1))
    when = [np.mean(np.flatnonzero(np.equal(sequence, rank))) for rank in range(K)]
    assert abs(correlation(when, range(K))) < 0.1
    assert correlation([1, 2, 3], [10, 20, 30]) == pytest.approx(1)
    assert correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_every_experiment_gives_a_table(name):
    runs = [EXPERIMENTS[name].run(items(), PROTOCOL, 0)]
    console = Console(record=True, width=120)

    show(name, runs, console)

    assert "conventional" in console.export_text()
