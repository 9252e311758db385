"""Checkpoints: how far the learning of a task is, so that it can go on where it was interrupted. Never pickle.

Learning a task is deterministic, so its k-th call of `fit`, a *section*, is the k-th one again when it is repeated. A
checkpoint holds the results of the sections that have ended and the state of the one under way; what lies between them
(features, statistics, closed forms) is computed again, with the same result. So learning that goes on from a checkpoint
ends with the same bits as learning that was never interrupted, on a CPU of the same kind.

On disk it is one safetensors file: tensors `<section>.<name>`, and under `checkpoint` in its metadata JSON that says
what it belongs to and what the sections are.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from models.errors import CheckpointError
from models.state import StateReader, with_prefix

FORMAT_VERSION = 1
METADATA = "checkpoint"


@dataclass(frozen=True)
class Snapshot:
    """How far one section is. Everything but the tensors is JSON."""

    call: dict[str, Any]
    """What the section was asked to do; a section that is asked something else must not go on from here."""
    counters: dict[str, Any]
    """Steps and sums so far."""
    tensors: dict[str, Tensor]


class Checkpoints(Protocol):
    """What training tells about its sections, and asks when it begins one."""

    def begin(self, call: dict[str, Any]) -> Snapshot | None:
        """Begin the next section, and return where an interrupted attempt left it; None to begin at the beginning.

        Raises:
            CheckpointError: If the interrupted attempt was asked something else.
        """

    def after_step(self, take: Callable[[], Snapshot]) -> None:
        """Keep a checkpoint if it is time to; only then the snapshot is taken.

        Raises:
            StoppedError: If training is to stop here.
        """

    def end(self, take: Callable[[], Snapshot]) -> None:
        """End the section. The snapshot must not share memory with what goes on changing."""


class NoCheckpoints:
    """What interrupted learning leaves nothing of."""

    def begin(self, call: dict[str, Any]) -> Snapshot | None:
        """Begin at the beginning."""
        return None

    def after_step(self, take: Callable[[], Snapshot]) -> None:
        """Take no notice."""

    def end(self, take: Callable[[], Snapshot]) -> None:
        """Take no notice."""


NO_CHECKPOINTS = NoCheckpoints()


class Keeper(Protocol):
    """Whoever keeps checkpoints, and says when."""

    def is_due(self) -> bool:
        """Tell whether to make one now. Asked after every step."""

    def keep(self, checkpoint: bytes) -> None:
        """Keep it in place of the one before.

        Raises:
            StoppedError: If training is to stop here.
        """


class SectionedCheckpoints:
    """The sections of one attempt at a task, handed to a keeper. For one call of `Strategy.learn`."""

    def __init__(
        self,
        keeper: Keeper,
        belongs_to: Mapping[str, Any],
        earlier: Sequence[Snapshot] = (),
        *,
        written_by: str = "",
    ) -> None:
        """Begin an attempt.

        Args:
            keeper: Decides when, and where to.
            belongs_to: JSON that identifies the task and all that decides what is learned.
            earlier: Sections of an interrupted attempt, as `unpack` returned them.
            written_by: Name of this attempt. Two attempts that come equally far write different bytes, so that one
                can delete its own without harm to the other.
        """
        self._keeper = keeper
        self._belongs_to = belongs_to
        self._written_by = written_by
        self._earlier = list(earlier)
        self._ended: list[Snapshot] = []

    def begin(self, call: dict[str, Any]) -> Snapshot | None:
        """See `Checkpoints.begin`."""
        k = len(self._ended)
        if k >= len(self._earlier):
            return None
        if self._earlier[k].call != call:
            raise CheckpointError(f"Section {k} of the checkpoint is of another training.")
        return self._earlier[k]

    def after_step(self, take: Callable[[], Snapshot]) -> None:
        """See `Checkpoints.after_step`."""
        if self._keeper.is_due():
            sections = [*self._ended, take()]
            self._keeper.keep(pack(sections, self._belongs_to, written_by=self._written_by))

    def end(self, take: Callable[[], Snapshot]) -> None:
        """See `Checkpoints.end`."""
        self._ended.append(take())


def pack(
    sections: Sequence[Snapshot], belongs_to: Mapping[str, Any], *, written_by: str = ""
) -> bytes:
    """Turn sections, in order, into one file."""
    described = {
        "format_version": FORMAT_VERSION,
        "belongs_to": belongs_to,
        "written_by": written_by,
        "sections": [{"call": s.call, "counters": s.counters} for s in sections],
    }
    tensors = {
        f"{k}.{name}": tensor.detach().cpu().contiguous()
        for k, section in enumerate(sections)
        for name, tensor in section.tensors.items()
    }
    metadata = {METADATA: json.dumps(described, sort_keys=True, allow_nan=False)}
    data: bytes = safetensors.torch.save(tensors, metadata)
    return data


def unpack(data: bytes, belongs_to: Mapping[str, Any]) -> list[Snapshot]:
    """Read the sections of a checkpoint back.

    Raises:
        CheckpointError: If it is damaged, belongs to something else, or holds a number that is not finite.
    """
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
        described = json.loads(_metadata(data)[METADATA])
        is_ours = (described["format_version"], described["belongs_to"]) == (
            FORMAT_VERSION,
            json.loads(json.dumps(belongs_to)),
        )
        calls = [(section["call"], section["counters"]) for section in described["sections"]]
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError("The checkpoint is damaged.") from error
    if not is_ours:
        raise CheckpointError("The checkpoint belongs to other data, another version or code.")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise CheckpointError(f"The tensor {name} of the checkpoint is not finite.")
    return [
        Snapshot(call, counters, with_prefix(tensors, f"{k}."))
        for k, (call, counters) in enumerate(calls)
    ]


def copy_parts(parts: Mapping[str, Mapping[str, Tensor]], prefix: str) -> dict[str, Tensor]:
    """Return CPU copies of named tensors in named parts, as `<prefix><part>.<name>`."""
    return {
        f"{prefix}{part}.{name}": value.cpu().clone()
        for part, values in parts.items()
        for name, value in values.items()
    }


def fill_parts(
    parts: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Tensor], prefix: str
) -> None:
    """Copy what `copy_parts` returned back into the tensors of the parts.

    Raises:
        CheckpointError: If a tensor is missing or has another shape or type.
    """
    reader = StateReader(state, prefix, what="a training")
    for part, values in parts.items():
        for name, value in values.items():
            value.copy_(reader.tensor(f"{part}.{name}", value.shape, value.dtype))


def _metadata(data: bytes) -> dict[str, str]:
    """Return the metadata of a safetensors file, whose reader for bytes leaves it out."""
    size = int.from_bytes(data[:8], "little")
    metadata: dict[str, str] = json.loads(data[8 : 8 + size])["__metadata__"]
    return metadata
