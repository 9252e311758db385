"""Proving an artifact that comes from outside, before it is kept. What `models.artifact` wrote here needs none of it.

A file is looked at before it is parsed, so that a forged one cannot make the process allocate more than it holds. What
passes has been loaded once as a whole, gives back exactly the tensors it came with, and answers an image.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from models import artifact
from models.backbone import Backbone
from models.errors import CheckpointError, LearnerError
from models.strategies.base import Strategy

MAX_HEADER_BYTES = 4 << 20
"""Of a tensor file: room for the 10,000 tensors with names of 200 characters and more."""
MAX_TENSORS = 10_000
"""In a file. The largest here, a task's adapters and records on a ViT of 24 blocks, has about 110."""
MAX_CLASSES = 100_000
MAX_TASKS = 10_000
MAX_TASK_INDEX = 1_000_000
"""Leaves room for the tasks that are learned next."""
DTYPES = (
    (
        "I64",
        r"adapted_on|branches|calibration\.tasks|classes\.\d+|episodes|ledger|seeds|targets\.\d+|"
        r"tasks\.\d+\.(replay\.seed|(own|records)\.(kept|untrained))|"
        r"consolidations\.\d+\.(tasks|\d+\.(own|records)\.(kept|untrained))",
    ),
    ("U8", r"tasks\.\d+\.images"),
    (
        "F64",
        r"calibration\.(familiarity|temperature)|(gates|tasks)\.\d+\.(measured|threshold)|"
        r"moments\.(cross|gram)|(tasks\.\d+\.own\.)?heads|statistics\.(counts|means|scatter)|scale|weight|"
        r"tasks\.\d+\.(sums|synapse|drift\.(linear|offset)|(own|records|replay)\.(counts|means))|"
        r"consolidations\.\d+\.(drift\.(linear|offset)|\d+\.(synapse|own\.heads|(own|records)\.(counts|means)))",
    ),
    (
        "F16",
        r"reference\.(between|directions|nothing)|"
        r"(tasks|consolidations\.\d+)\.\d+\.(own|records)\.rows",
    ),
    ("F32", r".*"),
)
"""Type of each tensor that any strategy has, by its name; the first that fits."""
TOLERANCE = 1e-3
"""By how much the probabilities of an image may miss 1 together."""
MAX_INTEGERS = 3_000_000
"""In an integer tensor, such as the ledger: some become Python objects, each many times its size."""
_KEY = re.compile(r"[A-Za-z0-9_.]{1,200}")
_FILE = re.compile(r"shared\.safetensors|(task|consolidation)-\d{4,7}\.safetensors")
_HASH = re.compile(r"[0-9a-f]{64}")
_BROKEN = (
    SafetensorError,
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ArithmeticError,
    AssertionError,
)
"""What code that trusts its own files may raise on forged ones."""


def check_manifest(described: Mapping[str, Any]) -> None:
    """Check that a manifest is one that `artifact.pack` could have written, whatever it describes.

    Args:
        described: The manifest's JSON object, of a format that this release reads.

    Raises:
        CheckpointError: If it is not.
    """
    expected = {
        "format_version": int,
        "strategy": str,
        "config": dict,
        "classes": list,
        "class_tasks": list,
        "task_indexes": list,
        "backbone": dict,
        "seed": int,
        "code_versions": dict,
        "files": dict,
    }
    _require(set(described) == set(expected), "The manifest has other fields than it should.")
    for field, kind in expected.items():
        _require(type(described[field]) is kind, f"The manifest's field {field} is malformed.")
    labels, indexes = described["classes"], described["task_indexes"]
    _require(
        0 < len(labels) <= MAX_CLASSES
        and all(isinstance(label, str) for label in labels)
        and len(set(labels)) == len(labels),
        "The manifest's classes are malformed.",
    )
    _require(
        0 < len(indexes) <= MAX_TASKS
        and all(type(index) is int and 0 < index <= MAX_TASK_INDEX for index in indexes)
        and len(set(indexes)) == len(indexes),
        "The manifest's tasks are malformed.",
    )
    _require(
        len(described["class_tasks"]) == len(labels)
        and all(type(index) is int for index in described["class_tasks"])
        and set(described["class_tasks"]) <= set(indexes),
        "The manifest's classes belong to tasks that it does not name.",
    )
    backbone = described["backbone"]
    _require(
        isinstance(backbone.get("name"), str) and isinstance(backbone.get("fingerprint"), str),
        "The manifest does not name its backbone.",
    )
    for name, entry in described["files"].items():
        _require(
            _FILE.fullmatch(name) is not None
            and isinstance(entry, dict)
            and set(entry) == {"sha256", "size"}
            and isinstance(entry["sha256"], str)
            and _HASH.fullmatch(entry["sha256"]) is not None
            and type(entry["size"]) is int,
            "The manifest's files are malformed.",
        )


def check_file(name: str, data: bytes) -> None:
    """Check a tensor file's header and that its tensors fill it to the last byte, before anything is allocated.

    Raises:
        CheckpointError: If it is truncated, has bytes left over, or holds what `artifact.pack` would not have written.
    """
    size = int.from_bytes(data[:8], "little")
    _require(len(data) >= 8 and size <= len(data) - 8, f"The file {name} is truncated.")
    _require(size <= MAX_HEADER_BYTES, f"The header of {name} is too large.")
    try:
        described = json.loads(data[8 : 8 + size], object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"The header of {name} is damaged.") from error
    _require(isinstance(described, dict), f"The header of {name} is damaged.")
    _require(
        len(described) <= MAX_TENSORS, f"The file {name} holds more than {MAX_TENSORS} tensors."
    )
    spans = sorted(_span(name, key, entry) for key, entry in described.items())
    ends = [(0, 0), *spans, (len(data) - 8 - size,) * 2]
    _require(
        all(before[1] == after[0] for before, after in pairwise(ends)),
        f"The file {name} is truncated, or has bytes left over.",
    )


def admit(manifest: bytes, read: Callable[[str], bytes], backbone: Backbone) -> Strategy[Any]:
    """Load an artifact from outside, and prove that it answers and that learning can go on from it.

    Takes as long, and as much memory, as loading it twice.

    Args:
        manifest: Checked with `check_manifest`; its configuration is valid.
        read: Returns the bytes of a file by its sha256.
        backbone: The backbone it says it was learned on.

    Raises:
        CheckpointError: If it does not hold together.
    """
    described = json.loads(manifest)
    for name, entry in described["files"].items():
        check_file(name, read(entry["sha256"]))
    try:
        strategy = artifact.load(manifest, read, backbone)
        _check_state(strategy, described, read)
        _check_answer(strategy)
    except LearnerError as error:
        raise CheckpointError(str(error)) from error
    except _BROKEN as error:
        raise CheckpointError(
            "The tensors do not fit the strategy or its configuration."
        ) from error
    return strategy


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise CheckpointError(sentence)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise ValueError("a key comes twice")
    return unique


def _span(name: str, key: str, entry: Any) -> tuple[int, int]:
    """Return where a tensor's bytes lie, once its entry in the header is one of ours."""
    is_ours = (
        _KEY.fullmatch(key) is not None
        and artifact.file_of(key) == name
        and isinstance(entry, dict)
        and set(entry) == {"dtype", "shape", "data_offsets"}
        and entry["dtype"] == _dtype_of(key)
        and all(_are_sizes(entry[field]) for field in ("shape", "data_offsets"))
        and len(entry["data_offsets"]) == 2
        and (entry["dtype"] != "I64" or math.prod(entry["shape"]) <= MAX_INTEGERS)
    )
    _require(
        is_ours, f"The file {name} holds a tensor whose name, type or shape is not one of ours."
    )
    start, end = entry["data_offsets"]
    return start, end


def _dtype_of(key: str) -> str:
    return next(dtype for dtype, names in DTYPES if re.fullmatch(names, key))


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value < 2**48 for value in values
    )


def _check_state(
    strategy: Strategy[Any], described: Mapping[str, Any], read: Callable[[str], bytes]
) -> None:
    """Check that the strategy has taken over every tensor, and as it is."""
    state = strategy.state_dict()
    for entry in described["files"].values():
        for key, tensor in safetensors.torch.load(read(entry["sha256"])).items():
            _require(
                _is_same(state.pop(key, None), tensor), f"The tensor {key} is not one of ours."
            )
    _require(not state, "Tensors are missing.")


def _is_same(mine: Tensor | None, tensor: Tensor) -> bool:
    return mine is not None and mine.dtype == tensor.dtype and torch.equal(mine.cpu(), tensor)


def _check_answer(strategy: Strategy[Any]) -> None:
    """Check that one grey image gets an answer over all classes."""
    side = strategy.backbone.image_size
    image = torch.full((1, 3, side, side), 127, dtype=torch.uint8)
    with torch.inference_mode():
        answer = strategy.predict(image)
    total = answer.probabilities.double().sum().item()
    _require(
        answer.probabilities.shape == (1, len(strategy.classes_))
        and abs(total - 1) < TOLERANCE
        and answer.novelty.isfinite().all().item() is True
        and answer.currents.isfinite().all().item() is True,
        "It loads, but does not answer.",
    )
