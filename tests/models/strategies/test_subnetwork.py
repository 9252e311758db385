from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from models.adapter import Adapter, adapter_state
from models.backbone import Backbone
from models.checkpoint import Checkpoints, SectionedCheckpoints, unpack
from models.errors import StoppedError
from models.fitting import Schedule
from models.strategies.subnetwork import train_subnetwork
from models.strategies.values import Task
from tests.models.interrupted import Interrupter

SCHEDULE = Schedule(epochs=4, batch_size=8, learning_rate=0.1, augmentation="crop")
Train = Callable[..., tuple[Adapter, float | None]]


@pytest.fixture
def task(make_task: Callable[..., Task]) -> Task:
    return make_task(1, ("a", "b", "c"), n=10)


@pytest.fixture
def train(backbone: Backbone, task: Task) -> Train:
    def train(checkpoints: Checkpoints | None = None, **changes: object):
        learned = task if checkpoints is None else replace(task, checkpoints=checkpoints)
        targets = torch.arange(3).repeat_interleave(10)
        asked = {"bottleneck": 4, "schedule": SCHEDULE, "first": 1, "n_views": 2}
        return train_subnetwork(backbone, learned, targets, **(asked | changes))

    return train


def is_same(one: Adapter, other: Adapter) -> bool:
    mine, theirs = adapter_state(one, ""), adapter_state(other, "")
    return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


@pytest.mark.parametrize("n_views", [0, 2])
def test_trains_the_last_blocks_alone(train, n_views):
    adapter, loss = train(n_views=n_views)

    assert adapter.first == 1
    assert adapter.at(1).up.weight.any()
    assert not any(parameter.requires_grad for parameter in adapter.parameters())
    assert not adapter.at(1).training
    assert loss is not None


@pytest.mark.parametrize("n_views", [0, 2])
def test_leaves_what_it_began_from_below_as_it_is(train, n_views):
    start, _ = train(first=0, n_views=0)
    before = start.clone()

    adapter, _ = train(start=start, n_views=n_views)

    assert is_same(start, before)
    assert adapter.first == 0
    assert is_same_block(adapter, start, 0)
    assert not is_same_block(adapter, start, 1)


def is_same_block(one: Adapter, other: Adapter, block: int) -> bool:
    return all(
        torch.equal(mine, theirs)
        for mine, theirs in zip(
            one.at(block).parameters(), other.at(block).parameters(), strict=True
        )
    )


def test_trains_blocks_that_what_it_began_from_does_not_have(train):
    start, _ = train(first=1)

    adapter, _ = train(first=0, start=start)

    assert adapter.first == 0
    assert adapter.at(0).up.weight.any()


@pytest.mark.parametrize("first", [0, 1])
def test_kept_views_teach_as_new_ones_do(train, first):
    schedule = replace(SCHEDULE, epochs=12)

    _, untrained = train(first=first, schedule=replace(schedule, learning_rate=1e-9))
    _, drawn_anew = train(first=first, schedule=schedule, n_views=0)
    _, kept = train(first=first, schedule=schedule)

    assert kept < 0.7 * untrained
    assert kept == pytest.approx(drawn_anew, rel=0.5)


def test_is_the_same_for_a_seed_and_leaves_torchs_generator_alone(train):
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)

    first, loss = train()

    assert torch.equal(torch.rand(1), expected)
    again, loss_again = train()
    assert is_same(first, again)
    assert loss == loss_again


@pytest.mark.parametrize("at", [1, 2, 3, 9, 16, 17])
def test_goes_on_from_every_step_with_the_same_bits(train, at):
    undisturbed = Interrupter()
    expected, loss = train(SectionedCheckpoints(undisturbed, {}))
    assert undisturbed.n_steps == 1 + 16  # 60 views in one pass, and four steps an epoch
    keeper, rest = Interrupter(at), Interrupter()
    with pytest.raises(StoppedError):
        train(SectionedCheckpoints(keeper, {}))

    found, found_loss = train(SectionedCheckpoints(rest, {}, unpack(keeper.kept, {})))

    assert is_same(found, expected)
    assert found_loss == loss
    assert rest.n_steps == 17 - at


def test_one_class_leaves_nothing_to_train(backbone, task):
    targets = torch.zeros(len(task.images), dtype=torch.int64)

    adapter, loss = train_subnetwork(
        backbone, task, targets, bottleneck=4, schedule=SCHEDULE, first=1, n_views=2
    )

    assert loss is None
    assert adapter.first == 1
    assert not adapter.at(1).up.weight.any()
