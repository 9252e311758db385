"""Learning that is interrupted anywhere, and goes on from what was kept, ends as if nothing had happened."""

import random
from collections.abc import Callable
from dataclasses import asdict, replace

import pytest
import torch
from torch.nn import functional as F

from models import artifact
from models.backbone import Backbone
from models.checkpoint import SectionedCheckpoints, Snapshot, pack, unpack
from models.errors import CheckpointError, StoppedError
from models.fitting import Schedule, fit
from models.path_integral import PathIntegral
from models.strategies.base import Strategy
from models.strategies.catalog import CATALOG, create_strategy, find_strategy
from models.strategies.values import Task
from tests.models.interrupted import QUICK, Interrupter
from tests.models.taught import teach

TASK = {"task": "tsk_1"}


Learn = Callable[[SectionedCheckpoints], Strategy]


@pytest.fixture(params=sorted(QUICK))
def variant(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def learn(variant: str, backbone: Backbone, make_task: Callable[..., Task]) -> Learn:
    """Return a function that learns a second task on top of a first one, with these checkpoints."""
    name = variant.split("-")[0]
    config = asdict(find_strategy(name).config_type(**QUICK[variant]))
    first = make_task(1, ("a", "b"), n=9)
    second = make_task(2, ("c", "a", "d"), n=9)
    learned = create_strategy(name, config, backbone)
    teach(learned, first)
    packed = artifact.pack(learned, seed=7, code_versions={})

    def run(checkpoints: SectionedCheckpoints) -> Strategy:
        if name == "ranpac":  # trains on its first task only
            strategy = create_strategy(name, config, backbone)
        else:
            strategy = artifact.load(packed.manifest, packed.files.__getitem__, backbone)
        if not strategy.consolidates:
            return teach(strategy, replace(second, checkpoints=checkpoints))
        return teach(strategy, second, checkpoints=checkpoints)

    return run


def manifest(strategy: Strategy) -> bytes:
    """Return what names every tensor file by its sha256, and says everything else there is to an artifact."""
    return artifact.pack(strategy, seed=7, code_versions={}).manifest


def interrupt(learn: Learn, at: int, earlier: list[Snapshot]) -> bytes:
    keeper = Interrupter(at)
    with pytest.raises(StoppedError):
        learn(SectionedCheckpoints(keeper, TASK, earlier))
    assert keeper.kept is not None
    return keeper.kept


def test_the_configurations_cover_the_catalog():
    assert {variant.split("-")[0] for variant in QUICK} == {entry.name for entry in CATALOG}


def test_interrupted_anywhere_it_ends_with_the_same_bits(variant: str, learn: Learn):
    undisturbed = Interrupter()
    expected = manifest(learn(SectionedCheckpoints(undisturbed, TASK)))
    n = undisturbed.n_steps
    assert (n > 0) == (variant != "simplecil")

    chosen = random.Random(variant).sample(range(1, n + 1), min(n, 3))
    for at in {*chosen, *([1, n] if n else [])}:
        kept = interrupt(learn, at, [])
        torch.rand(at)  # the next process's global generator stands anywhere
        rest = Interrupter()
        found = manifest(learn(SectionedCheckpoints(rest, TASK, unpack(kept, TASK))))
        assert found == expected
        assert rest.n_steps == n - at  # nothing was trained twice


@pytest.mark.parametrize("variant", sorted(QUICK.keys() - {"simplecil"}))
def test_interrupted_again_and_again_it_ends_with_the_same_bits(variant: str, learn: Learn):
    undisturbed = Interrupter()
    expected = manifest(learn(SectionedCheckpoints(undisturbed, TASK)))

    earlier: list[Snapshot] = []
    n_left, n_interruptions = undisturbed.n_steps, 0
    while n_left > 5:
        earlier = unpack(interrupt(learn, 5, earlier), TASK)
        n_left -= 5
        n_interruptions += 1

    assert n_interruptions > 1
    assert manifest(learn(SectionedCheckpoints(Interrupter(), TASK, earlier))) == expected


X = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(20) % 3
SCHEDULE = Schedule(epochs=3, batch_size=8, learning_rate=0.1)


def train(checkpoints: SectionedCheckpoints, schedule: Schedule = SCHEDULE) -> tuple:
    """Train a small head with dropout under Synaptic Intelligence; return its weight and the path integral."""
    weight = torch.nn.Parameter(torch.zeros(4, 3))
    rule = PathIntegral({"weight": weight}, damping=0.1, strength=0.5)

    def loss_fn(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(F.dropout(x, 0.3) @ weight, y)

    loss = fit(
        [weight],
        X,
        Y,
        loss_fn,
        schedule,
        seed=1,
        device=torch.device("cpu"),
        rule=rule,
        checkpoints=checkpoints,
    )
    return weight.detach(), rule.path["weight"], loss


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("at", range(1, 10))
def test_every_step_of_every_optimiser_can_be_gone_on_from(optimizer, momentum, at):
    schedule = replace(SCHEDULE, optimizer=optimizer, momentum=momentum)
    expected = train(SectionedCheckpoints(Interrupter(), TASK), schedule)
    keeper = Interrupter(at)
    with pytest.raises(StoppedError):
        train(SectionedCheckpoints(keeper, TASK), schedule)

    found = train(SectionedCheckpoints(Interrupter(), TASK, unpack(keeper.kept, TASK)), schedule)

    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    assert found[2] == expected[2]


@pytest.fixture
def kept() -> bytes:
    keeper = Interrupter(4)
    with pytest.raises(StoppedError):
        train(SectionedCheckpoints(keeper, TASK))
    return keeper.kept


def test_another_training_does_not_go_on_from_it(kept):
    checkpoints = SectionedCheckpoints(Interrupter(), TASK, unpack(kept, TASK))
    with pytest.raises(CheckpointError, match="another training"):
        train(checkpoints, replace(SCHEDULE, learning_rate=0.2))


def test_refuses_what_belongs_to_something_else(kept):
    with pytest.raises(CheckpointError, match="belongs to other data"):
        unpack(kept, {"task": "tsk_2"})


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[:8] + b"x" * (len(data) - 8),
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: data.replace(b'\\"sections\\"', b'\\"sektions\\"'),
        lambda data: data.replace(b"__metadata__", b"__metadatA__"),
    ],
)
def test_refuses_damaged_bytes(kept, harm):
    assert harm(kept) != kept
    with pytest.raises(CheckpointError, match="damaged"):
        unpack(harm(kept), TASK)


def test_refuses_numbers_that_are_not_finite(kept):
    (section,) = unpack(kept, TASK)
    section.tensors["parameter.0"][0, 0] = torch.inf
    with pytest.raises(CheckpointError, match="not finite"):
        unpack(pack([section], TASK), TASK)


@pytest.mark.parametrize(
    "name",
    ["parameter.0", "rule.path.weight", "order", "random.cpu", "optimizer.0.momentum_buffer"],
)
def test_refuses_tensors_of_another_shape(kept, name):
    (section,) = unpack(kept, TASK)
    tensors = section.tensors | {name: section.tensors[name].flatten()[:-1].contiguous()}
    harmed = replace(section, tensors=tensors)
    with pytest.raises(CheckpointError):
        train(SectionedCheckpoints(Interrupter(), TASK, [harmed]))
