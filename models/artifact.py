"""A learner on disk: `manifest.json` and safetensors files, each named by its sha256. Never pickle.

Tensors of one task (`tasks.<index>.…`) or one consolidation (`consolidations.<number>.…`) get a file of their own. They
never change, so every later version names the same file and storage grows by what is added, not by what is there.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from weakref import ReferenceType, ref

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from models.backbone import Backbone
from models.errors import CheckpointError
from models.strategies.base import Strategy
from models.strategies.catalog import create_strategy

FORMAT_VERSION = 1
SHARED = "shared.safetensors"
SMALL = 1024
"""Numbers of a tensor up to which it is compared by its values."""


@dataclass(frozen=True)
class Artifact:
    """What has to be stored for one version."""

    manifest: bytes
    """UTF-8 JSON; its sha256 is the version's address."""
    files: dict[str, bytes]
    """Tensor files by their sha256: those that are not known from before."""
    size_bytes: int
    """Of manifest and all files together, shared ones included."""
    packed: dict[str, "PackedFile"] = field(default_factory=dict, compare=False)
    """Files of single tasks and consolidations by name, for the version that comes next."""
    known: tuple[str, ...] = ()
    """Sha256 of each file that is known from before."""


@dataclass(frozen=True)
class PackedFile:
    """A file that was packed, and what of."""

    sha256: str
    size: int
    tensors: dict[str, Tensor]
    """Each where it is in memory, so that no other can come to lie there."""
    changes: dict[str, int]
    """How often each had been changed in place, as PyTorch counts it."""

    @classmethod
    def of(cls, data: bytes, tensors: dict[str, Tensor]) -> "PackedFile":
        """Describe a file."""
        changes = {key: tensor._version for key, tensor in tensors.items()}
        return cls(hashlib.sha256(data).hexdigest(), len(data), tensors, changes)

    def is_of(self, tensors: Mapping[str, Tensor]) -> bool:
        """Tell whether tensors give the same bytes, by where they lie; of small ones by their values."""
        return self.tensors.keys() == tensors.keys() and all(
            self._is_same(key, tensor) for key, tensor in tensors.items()
        )

    def _is_same(self, key: str, tensor: Tensor) -> bool:
        mine = self.tensors[key]
        if (mine.shape, mine.dtype, mine.stride()) != (tensor.shape, tensor.dtype, tensor.stride()):
            return False
        if mine._version != self.changes[key]:
            return False
        is_there = mine.data_ptr() == tensor.data_ptr() and tensor._version == self.changes[key]
        return is_there or (mine.numel() <= SMALL and torch.equal(mine, tensor))


def pack(
    strategy: Strategy[Any],
    *,
    seed: int,
    code_versions: dict[str, str],
    before: Mapping[str, PackedFile] | None = None,
) -> Artifact:
    """Turn a learned strategy into files. The same state gives the same bytes.

    Args:
        strategy: Learned.
        seed: Of the task.
        code_versions: Of what decides what is learned.
        before: What was packed of the learner that this one went on from: its files are not written again as long as
            their tensors are the same.
    """
    groups: dict[str, dict[str, Tensor]] = {}
    for key, tensor in sorted(strategy.state_dict().items()):
        groups.setdefault(file_of(key), {})[key] = tensor.contiguous()
    files: dict[str, bytes] = {}
    packed: dict[str, PackedFile] = {}
    known: list[str] = []
    for name, tensors in sorted(groups.items()):
        there = None if before is None or name == SHARED else before.get(name)
        if there is not None and there.is_of(tensors):
            packed[name] = there
            known.append(there.sha256)
            continue
        data = safetensors.torch.save(tensors)
        packed[name] = PackedFile.of(data, tensors)
        files[packed[name].sha256] = data
    listed = {name: {"sha256": file.sha256, "size": file.size} for name, file in packed.items()}
    manifest = json.dumps(
        {
            "format_version": FORMAT_VERSION,
            "strategy": strategy.name,
            "config": asdict(strategy.config),
            "classes": strategy.classes_,
            "class_tasks": strategy.class_tasks_,
            "task_indexes": strategy.task_indexes_,
            "backbone": {
                "name": strategy.backbone.name,
                "fingerprint": strategy.backbone.fingerprint,
                "preprocessing": asdict(strategy.backbone.preprocessing),
            },
            "seed": seed,
            "code_versions": code_versions,
            "files": listed,
        },
        indent=1,
        sort_keys=True,
    ).encode()
    size = len(manifest) + sum(file.size for file in packed.values())
    packed.pop(SHARED, None)  # never the same again
    return Artifact(manifest, files, size, packed, tuple(known))


def file_of(key: str) -> str:
    """Return the name of the file that a tensor lies in."""
    match = re.match(r"(task|consolidation)s\.(\d+)\.", key)
    return f"{match[1]}-{int(match[2]):04d}.safetensors" if match else SHARED


class KnownFiles:
    """Files of single tasks and consolidations that were read, as long as learners hold all of their tensors."""

    def __init__(self) -> None:
        """Know none."""
        self._files: dict[str, dict[str, ReferenceType[Tensor]]] = {}

    def get(self, sha256: str) -> dict[str, Tensor] | None:
        """Return the tensors of a file; None if it is not known, or not all of them are in memory any more."""
        found = {key: known() for key, known in self._files.get(sha256, {}).items()}
        tensors = {key: tensor for key, tensor in found.items() if tensor is not None}
        return tensors if tensors and len(tensors) == len(found) else None

    def add(self, files: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Know further files by their sha256, and forget those that are not in memory."""
        new = {digest: {k: ref(t) for k, t in file.items()} for digest, file in files.items()}
        there = {digest: file for digest, file in list(self._files.items()) if self.get(digest)}
        self._files = there | new


def load(
    manifest: bytes,
    read: Callable[[str], bytes],
    backbone: Backbone,
    *,
    there: KnownFiles | None = None,
) -> Strategy[Any]:
    """Rebuild a strategy: it can learn the next task, and predict, at full speed from the start once it is prepared.

    Args:
        manifest: As `pack` made it.
        read: Returns the bytes of a file by its sha256.
        backbone: The backbone it was learned on.
        there: What is in memory of earlier versions, which is not read again. Then none of them may learn on.

    Raises:
        CheckpointError: If a file is damaged, the format is unknown, a tensor is not finite, or the backbone is
        another.
    """
    described = _parse(manifest)
    learned_on = described["backbone"]
    if learned_on["fingerprint"] != backbone.fingerprint:
        raise CheckpointError(
            f"This version was learned on other weights of backbone {learned_on['name']} "
            f"({learned_on['fingerprint'][:12]}, here {backbone.fingerprint[:12]}): "
            "serve it with the weights it was learned on, or learn its tasks again."
        )
    state: dict[str, Tensor] = {}
    files: dict[str, dict[str, Tensor]] = {}
    for name, entry in described["files"].items():
        digest = entry["sha256"]
        known = None if there is None else there.get(digest)
        files[digest] = _read_tensors(name, digest, read) if known is None else known
        state |= files[digest]
    strategy = create_strategy(described["strategy"], described["config"], backbone)
    strategy.classes_ = tuple(described["classes"])
    strategy.class_tasks_ = tuple(described["class_tasks"])
    strategy.task_indexes_ = tuple(described["task_indexes"])
    strategy.load_state_dict(state)
    if there is not None:
        there.add(files)
    return strategy


def _parse(manifest: bytes) -> dict[str, Any]:
    try:
        described: dict[str, Any] = json.loads(manifest)
        version = described["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError("The manifest of this version is damaged.") from error
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"This version has artifact format {version}; this release reads format {FORMAT_VERSION}."
        )
    return described


def _read_tensors(name: str, digest: str, read: Callable[[str], bytes]) -> dict[str, Tensor]:
    data = read(digest)
    if hashlib.sha256(data).hexdigest() != digest:
        raise CheckpointError(f"The file {name} of this version is damaged: its sha256 differs.")
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
    except SafetensorError as error:
        raise CheckpointError(f"The file {name} of this version is not safetensors.") from error
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise CheckpointError(f"The tensor {key} of this version is not finite.")
    return tensors
