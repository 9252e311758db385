import pytest
import torch
from torch import nn

from models.errors import CheckpointError
from models.state import StateReader, fill_first_rows

STATE = {
    "head.weight": torch.ones(2, 3),
    "head.bias": torch.ones(2),
    "scale": torch.tensor(2.5, dtype=torch.float64),
    "index": torch.tensor(7),
}


def test_returns_what_fits():
    reader = StateReader(STATE, "head.", what="the head")

    assert reader.tensor("weight", (2, None)) is STATE["head.weight"]
    assert "bias" in reader
    assert "scale" not in reader
    everything = StateReader(STATE, what="it")
    assert (everything.number("scale"), everything.integer("index")) == (2.5, 7)


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "sentence"),
    [
        ("scale", (), torch.float32, "is incomplete: head.scale is missing"),
        (
            "weight",
            (3, None),
            torch.float32,
            "has shapes that do not fit: head.weight is 2 x 3 instead of 3 x any",
        ),
        (
            "weight",
            (2, 3, 1),
            torch.float32,
            "has shapes that do not fit: head.weight is 2 x 3 instead of 2 x 3 x 1",
        ),
        (
            "bias",
            (),
            torch.float32,
            "has shapes that do not fit: head.bias is 2 instead of one number",
        ),
        (
            "bias",
            (2,),
            torch.int64,
            "has types that do not fit: head.bias is float32 instead of int64",
        ),
    ],
)
def test_refuses_what_does_not_fit_with_a_sentence(name, shape, dtype, sentence):
    with pytest.raises(CheckpointError) as refusal:
        StateReader(STATE, "head.", what="the head").tensor(name, shape, dtype)

    assert str(refusal.value) == f"What is stored of the head {sentence}."


def test_numbers_are_single_and_of_their_type():
    reader = StateReader({"a": torch.ones(1), "b": torch.tensor([1, 2])}, what="it")
    for read, name in ((reader.number, "a"), (reader.integer, "a"), (reader.integer, "b")):
        with pytest.raises(CheckpointError):
            read(name)


def test_a_module_comes_back_frozen_and_shares_no_memory():
    head = StateReader(STATE, "head.", what="the head").module(lambda: nn.Linear(3, 2))

    assert torch.equal(head.weight, STATE["head.weight"])
    assert not head.training
    assert not any(parameter.requires_grad for parameter in head.parameters())
    assert head.weight.data_ptr() != STATE["head.weight"].data_ptr()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"head.bias": None}, "head.bias is missing"),
        ({"head.bias": torch.ones(3)}, "head.bias is 3 instead of 2"),
        ({"head.bias": torch.ones(2, dtype=torch.float64)}, "head.bias is float64"),
        ({"head.more": torch.ones(2)}, "head.more is no part of it"),
    ],
)
def test_a_module_takes_all_of_its_tensors_and_no_others(changes, named):
    state = {key: value for key, value in (STATE | changes).items() if value is not None}

    with pytest.raises(CheckpointError, match=named):
        StateReader(state, "head.", what="the head").module(lambda: nn.Linear(3, 2))


def test_a_forged_size_allocates_nothing():
    reader = StateReader(STATE, "head.", what="the head")
    with pytest.raises(CheckpointError, match="instead of 1099511627776 x 8"):
        reader.module(lambda: nn.Linear(8, 2**40))
    with pytest.raises(CheckpointError, match="does not fit"):
        reader.module(lambda: nn.Linear(2**40, 2**40))


def test_rows_that_came_later_stay_as_they_are():
    values = {"weight": torch.zeros(3, 2)}

    fill_first_rows(values, {"weight": torch.ones(2, 2, dtype=torch.float64)})

    assert values["weight"].tolist() == [[1, 1], [1, 1], [0, 0]]


@pytest.mark.parametrize("earlier", [torch.ones(4, 2), torch.ones(2, 3)])
def test_more_rows_than_there_are_now_do_not_fit(earlier):
    with pytest.raises(CheckpointError, match="does not fit"):
        fill_first_rows({"weight": torch.zeros(3, 2)}, {"weight": earlier})
    with pytest.raises(CheckpointError, match="does not fit"):
        fill_first_rows({}, {"weight": earlier})
