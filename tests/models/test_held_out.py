import json

import pytest
import safetensors.torch
import torch

from models.errors import CheckpointError
from models.held_out import HeldOutFeatures

NAMES = ("aa", "bb", "cc")


def kept(**other) -> HeldOutFeatures:
    values = {"fingerprint": "f", "images": NAMES, "rows": torch.arange(12.0).view(3, 4) / 7}
    return HeldOutFeatures(**values | other)


def test_features_come_back_as_they_were_whatever_order_they_are_asked_for_in():
    again = HeldOutFeatures.unpack(kept().pack())

    assert (again.fingerprint, again.images) == ("f", NAMES)
    assert torch.equal(again.rows, kept().rows)
    assert torch.equal(again.of("f", ["cc", "aa", "cc"]), kept().rows[[2, 0, 2]])
    assert again.of("f", []).shape == (0, 4)
    assert kept().pack() == kept().pack()


def test_other_features_and_images_that_were_never_kept_are_not_there():
    assert kept().of("g", ["aa"]) is None
    assert kept().of("f", ["aa", "dd"]) is None


@pytest.mark.parametrize(
    "rows",
    [
        torch.zeros(3, 4, dtype=torch.float16),
        torch.zeros(2, 4),
        torch.zeros(3),
        torch.full((3, 4), float("nan")),
    ],
)
def test_what_does_not_fit_together_is_refused(rows):
    with pytest.raises(CheckpointError):
        HeldOutFeatures.unpack(kept(rows=rows).pack())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no such file at all",
        kept().pack()[:-3],
        safetensors.torch.save({"rows": torch.zeros(3, 4)}),
        safetensors.torch.save({"others": torch.zeros(3, 4)}, {"held_out": "{}"}),
        safetensors.torch.save({"rows": torch.zeros(3, 4)}, {"held_out": "[1"}),
        safetensors.torch.save({"rows": torch.zeros(3, 4)}, {"held_out": json.dumps([1])}),
    ],
)
def test_a_damaged_file_is_refused(data):
    with pytest.raises(CheckpointError):
        HeldOutFeatures.unpack(data)
