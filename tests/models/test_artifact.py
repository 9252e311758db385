import json

import pytest
import safetensors.torch
import torch

from models import artifact
from models.backbone import Backbone, Preprocessing
from models.errors import CheckpointError
from models.strategies.artsy.config import ArtsyConfig
from models.strategies.artsy.strategy import Artsy


@pytest.fixture
def strategy(backbone, make_task) -> Artsy:
    learned = Artsy(backbone, ArtsyConfig(epochs=1, bottleneck=4))
    learned.learn(make_task(1, ("a", "b")))
    return learned


def pack(strategy: Artsy) -> artifact.Artifact:
    return artifact.pack(strategy, seed=1, code_versions={"torch": "2"})


def test_the_same_state_gives_the_same_bytes(strategy):
    assert pack(strategy) == pack(strategy)


def test_a_later_version_names_the_files_of_earlier_tasks_again(strategy, make_task):
    before = json.loads(pack(strategy).manifest)["files"]

    strategy.learn(make_task(2, ("c", "d")))

    after = json.loads(pack(strategy).manifest)["files"]
    assert after["task-0001.safetensors"] == before["task-0001.safetensors"]
    assert after["shared.safetensors"] != before["shared.safetensors"]
    assert set(after) == {"shared.safetensors", "task-0001.safetensors", "task-0002.safetensors"}


def test_what_did_not_change_is_not_packed_again(strategy, backbone, make_task):
    first = pack(strategy)
    known = first.packed["task-0001.safetensors"]
    later = Artsy(backbone, strategy.config)
    later.go_on_from(strategy)
    later.learn(make_task(2, ("c", "d")))

    again = artifact.pack(later, seed=1, code_versions={"torch": "2"}, before=first.packed)

    alone = pack(later)
    assert again.known == (known.sha256,)
    assert known.sha256 not in again.files
    assert (again.manifest, again.size_bytes) == (alone.manifest, alone.size_bytes)
    assert again.files | {known.sha256: first.files[known.sha256]} == alone.files


def test_what_changed_in_place_is_packed_again(strategy):
    before = pack(strategy).packed
    strategy.history.episodes[0].records.rows[0, 0] += 1

    again = artifact.pack(strategy, seed=1, code_versions={"torch": "2"}, before=before)

    assert (again.known, again.files) == ((), pack(strategy).files)


def test_what_is_in_memory_is_not_read_again(strategy, backbone, make_task):
    first = pack(strategy)
    strategy.learn(make_task(2, ("c", "d")))
    second = pack(strategy)
    read: list[str] = []

    def load(packed):
        read.clear()

        def reading(sha256):
            read.append(sha256)
            return packed.files[sha256]

        return artifact.load(packed.manifest, reading, backbone, there=there)

    there = artifact.KnownFiles()
    before = load(first)
    assert set(read) == set(first.files)
    after = load(second)
    assert set(read) == set(second.files) - set(first.files)
    rows = after.history.episodes[0].records.rows
    assert rows is before.history.episodes[0].records.rows
    assert pack(after) == second
    del before, after, rows
    load(second)
    assert set(read) == set(second.files), "what nobody holds has to be read"


def test_refuses_another_backbone(strategy, backbone):
    packed = pack(strategy)
    other = Backbone("tiny", backbone.vit, Preprocessing(image_size=32, crop=0.9))

    with pytest.raises(CheckpointError, match="other weights"):
        artifact.load(packed.manifest, packed.files.__getitem__, other)


def test_every_flipped_byte_is_found(strategy, backbone):
    packed = pack(strategy)
    generator = torch.Generator().manual_seed(0)
    for name, data in packed.files.items():
        for position in torch.randint(0, len(data), (20,), generator=generator).tolist():
            damaged = bytearray(data)
            damaged[position] ^= 0x40
            files = {**packed.files, name: bytes(damaged)}
            with pytest.raises(CheckpointError, match="damaged"):
                artifact.load(packed.manifest, files.__getitem__, backbone)


def test_refuses_a_damaged_manifest_and_an_unknown_format(strategy, backbone):
    packed = pack(strategy)
    with pytest.raises(CheckpointError, match="damaged"):
        artifact.load(packed.manifest[:-5], packed.files.__getitem__, backbone)
    newer = packed.manifest.replace(b'"format_version": 1', b'"format_version": 99')
    with pytest.raises(CheckpointError, match="format 99"):
        artifact.load(newer, packed.files.__getitem__, backbone)


def test_refuses_tensors_that_are_not_finite(strategy, backbone):
    strategy.history.episodes[0].records.means[0, 0] = torch.nan
    packed = pack(strategy)

    with pytest.raises(CheckpointError, match="finite"):
        artifact.load(packed.manifest, packed.files.__getitem__, backbone)


def test_refuses_what_is_not_safetensors_or_incomplete(strategy, backbone, monkeypatch):
    packed = pack(strategy)
    described = json.loads(packed.manifest)
    del described["files"]["task-0001.safetensors"]
    with pytest.raises(CheckpointError, match=r"tasks\.1\."):
        artifact.load(json.dumps(described).encode(), packed.files.__getitem__, backbone)


def test_files_are_plain_safetensors(strategy):
    packed = pack(strategy)

    for data in packed.files.values():
        assert safetensors.torch.load(data)
