"""A learner on disk: `manifest.json` and safetensors files, each named by its sha256. Never pickle.

Tensors of one task (`tasks.<index>.…`) or one consolidation (`consolidations.<number>.…`) get a file of their own. They
never change, so every later version names the same file and storage grows by what is added, not by what is there.
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from models.backbone import Backbone
from models.errors import CheckpointError
from models.strategies.base import Strategy
from models.strategies.catalog import create_strategy

FORMAT_VERSION = 1
SHARED = "shared.safetensors"


@dataclass(frozen=True)
class Artifact:
    """What has to be stored for one version."""

    manifest: bytes
    """UTF-8 JSON; its sha256 is the version's address."""
    files: dict[str, bytes]
    """Tensor files by their sha256."""
    size_bytes: int
    """Of manifest and all files together, shared ones included."""


def pack(strategy: Strategy[Any], *, seed: int, code_versions: dict[str, str]) -> Artifact:
    """Turn a learned strategy into files. The same state gives the same bytes."""
    groups: dict[str, dict[str, Tensor]] = {}
    for key, tensor in sorted(strategy.state_dict().items()):
        groups.setdefault(file_of(key), {})[key] = tensor.contiguous()
    files: dict[str, bytes] = {}
    listed: dict[str, dict[str, Any]] = {}
    for name, tensors in sorted(groups.items()):
        data = safetensors.torch.save(tensors)
        digest = hashlib.sha256(data).hexdigest()
        files[digest] = data
        listed[name] = {"sha256": digest, "size": len(data)}
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
    return Artifact(manifest, files, len(manifest) + sum(map(len, files.values())))


def file_of(key: str) -> str:
    """Return the name of the file that a tensor lies in."""
    match = re.match(r"(task|consolidation)s\.(\d+)\.", key)
    return f"{match[1]}-{int(match[2]):04d}.safetensors" if match else SHARED


def load(manifest: bytes, read: Callable[[str], bytes], backbone: Backbone) -> Strategy[Any]:
    """Rebuild a strategy: it can learn the next task, and predict, at full speed from the start once it is prepared.

    Args:
        manifest: As `pack` made it.
        read: Returns the bytes of a file by its sha256.
        backbone: The backbone it was learned on.

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
    for name, entry in described["files"].items():
        state |= _read_tensors(name, entry["sha256"], read)
    strategy = create_strategy(described["strategy"], described["config"], backbone)
    strategy.classes_ = tuple(described["classes"])
    strategy.class_tasks_ = tuple(described["class_tasks"])
    strategy.task_indexes_ = tuple(described["task_indexes"])
    strategy.load_state_dict(state)
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
