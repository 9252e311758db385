import pytest
import torch

from models.adapter import Adapter, adapter_state, load_adapter
from models.errors import CheckpointError

WIDTH, DEPTH, BOTTLENECK = 6, 4, 3
TOKENS = torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(0))


def drawn(seed: int, *, first: int = 0) -> Adapter:
    adapter = Adapter(width=WIDTH, depth=DEPTH, bottleneck=BOTTLENECK, first=first)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.normal_(generator=generator)
    return adapter.freeze()


def load(state: dict[str, torch.Tensor]) -> Adapter:
    return load_adapter(state, "a.", width=WIDTH, depth=DEPTH, bottleneck=BOTTLENECK)


@pytest.mark.parametrize("first", range(DEPTH))
def test_what_is_stored_says_which_blocks_have_a_bottleneck(first):
    stored = drawn(1, first=first)

    loaded = load(adapter_state(stored, "a."))

    assert loaded.first == first
    assert [loaded.at(block) is not None for block in range(DEPTH)] == [
        block >= first for block in range(DEPTH)
    ]
    found, expected = adapter_state(loaded, ""), adapter_state(stored, "")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_keys_are_those_of_older_releases():
    names = ("down.weight", "down.bias", "up.weight", "up.bias")
    assert list(adapter_state(drawn(1), "a.")) == [
        f"a.blocks.{block}.{name}" for block in range(DEPTH) for name in names
    ]


@pytest.mark.parametrize(
    ("first", "renamed"),
    [(2, {"2": "0"}), (2, {"3": "9"}), (3, {"3": "4"}), (3, {"3": "12345"}), (3, {"3": "x"})],
)
def test_refuses_bottlenecks_of_blocks_that_are_not_the_last_ones(first, renamed):
    state = {
        ".".join(renamed.get(part, part) for part in key.split(".")): value
        for key, value in adapter_state(drawn(1, first=first), "a.").items()
    }
    with pytest.raises(CheckpointError):
        load(state)


def test_refuses_an_adapter_of_nothing():
    with pytest.raises(CheckpointError, match="missing"):
        load({})


def test_a_block_without_a_bottleneck_counts_as_one_that_adds_nothing():
    fewer, more = drawn(1, first=2), drawn(2)

    mean = fewer.clone()
    mean.consolidate(more, weight=0.25)

    assert mean.first == 0
    torch.testing.assert_close(mean.at(1)(TOKENS), 0.25 * more.at(1)(TOKENS))
    torch.testing.assert_close(
        mean.at(2).up.weight, 0.75 * fewer.at(2).up.weight + 0.25 * more.at(2).up.weight
    )

    back = more.clone()
    back.consolidate(fewer, weight=0.25)
    torch.testing.assert_close(back.at(1)(TOKENS), 0.75 * more.at(1)(TOKENS))
    assert fewer.first == 2  # the other one is left as it is


def test_grows_by_what_it_lacks_and_by_nothing_else():
    fewer, more = drawn(1, first=3), drawn(2, first=1)

    grown = fewer.grown(more)

    assert grown.first == 1
    assert torch.equal(grown.at(3).up.weight, fewer.at(3).up.weight)
    assert torch.equal(grown.at(2).up.weight, more.at(2).up.weight)
    with torch.no_grad():
        grown.at(2).up.weight.zero_()
    assert more.at(2).up.weight.any()
    assert fewer.first == 3


def test_only_the_blocks_that_thaw_learn():
    adapter = drawn(1)

    learning = adapter.thaw(2)

    assert [p.requires_grad for p in adapter.parameters()] == [False] * 8 + [True] * 8
    assert {id(p) for p in learning} == {id(p) for p in adapter.parameters() if p.requires_grad}
    assert [adapter.at(block).training for block in range(DEPTH)] == [False, False, True, True]
    assert not adapter.freeze().at(3).training
