"""What comes from outside: everything we pack is admitted, and a forged size allocates nothing."""

import json
from dataclasses import asdict

import pytest
import torch

from models import artifact
from models.admission import admit, check_file, check_manifest
from models.errors import CheckpointError
from models.strategies.catalog import create_strategy, find_strategy
from tests.models.strategies.quick import QUICK


def learned(variant, backbone, *tasks):
    name = variant.split("-")[0]
    config = asdict(find_strategy(name).config_type(**QUICK[variant]))
    strategy = create_strategy(name, config, backbone)
    for task in tasks:
        strategy.learn(task)
    return strategy


@pytest.mark.parametrize("variant", sorted(QUICK))
def test_what_every_strategy_packs_is_admitted(variant, backbone, make_task):
    tasks = [make_task(1, ("a", "b")), make_task(3, ("c",))]
    strategy = learned(variant, backbone, *tasks)
    packed = artifact.pack(strategy, seed=0, code_versions={})

    check_manifest(json.loads(packed.manifest))
    admitted = admit(packed.manifest, packed.files.__getitem__, backbone)

    images = torch.cat([task.held_out_images for task in tasks])
    assert torch.equal(admitted.predict_logits(images), strategy.predict_logits(images))


@pytest.mark.parametrize(("variant", "size"), [("ease", "bottleneck"), ("metaplasticity", "width")])
def test_a_forged_size_is_refused_before_anything_is_built(variant, size, backbone, make_task):
    packed = artifact.pack(
        learned(variant, backbone, make_task(1, ("a", "b"))), seed=0, code_versions={}
    )
    described = json.loads(packed.manifest)
    # Built, this would take terabytes.
    described["config"][size] = 2**31 - 1

    with pytest.raises(CheckpointError, match="not fit"):
        admit(json.dumps(described).encode(), packed.files.__getitem__, backbone)


def test_a_ledger_of_millions_is_refused():
    n = 3_000_003
    described = {"ledger": {"dtype": "I64", "shape": [n // 3, 3], "data_offsets": [0, 8 * n]}}
    head = json.dumps(described).encode()
    with pytest.raises(CheckpointError, match="not one of ours"):
        check_file("shared.safetensors", len(head).to_bytes(8, "little") + head + bytes(8 * n))


HOLES = [
    ([0, 4], [8, 12], 12),
    ([0, 4], [2, 6], 6),
    ([4, 8], [0, 4], 9),
    ([0, 4], [4, 2**40], 8),
]


def test_tensors_that_overlap_or_leave_holes_are_refused(subtests):
    for first, second, size in HOLES:
        with subtests.test(first=first, second=second):
            described = {
                key: {"dtype": "F32", "shape": [1], "data_offsets": span}
                for key, span in (("a", first), ("b", second))
            }
            head = json.dumps(described).encode()
            data = len(head).to_bytes(8, "little") + head + bytes(size)
            with pytest.raises(CheckpointError, match="left over"):
                check_file("shared.safetensors", data)
