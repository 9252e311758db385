"""Features of one task's held-out images, kept so that measuring the task again needs no pass of its images.

What a learner knows is measured on the held-out images of every task, after every task. As long as the features stay
the same, which `Strategy.fingerprint_of_features` tells, only what reads them is new. They are float32, as they came
out of the pass, so that the answers are those to the images. No training image has a part in this.

Shapes: n images, W feature width.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from models.errors import CheckpointError

_ABOUT = "held_out"


@dataclass(frozen=True)
class HeldOutFeatures:
    """What some images look like to a learner."""

    fingerprint: str
    """Of the features, as the strategy tells it."""
    images: tuple[str, ...]
    """Name of each image: the sha256 of its blob, length n."""
    rows: Tensor
    """Float32 `(n, W)`, on the CPU."""

    def of(self, fingerprint: str, images: Sequence[str]) -> Tensor | None:
        """Return the features of some images, in their order; None if these are other features or one is not there.

        Args:
            fingerprint: Of the features that are asked for.
            images: Names of the images.
        """
        if fingerprint != self.fingerprint:
            return None
        places = {name: row for row, name in enumerate(self.images)}
        if not places.keys() >= set(images):
            return None
        return self.rows[torch.tensor([places[name] for name in images], dtype=torch.int64)]

    def pack(self) -> bytes:
        """Return them as a safetensors file. The same features give the same bytes."""
        about = json.dumps({"fingerprint": self.fingerprint, "images": self.images})
        return safetensors.torch.save({"rows": self.rows.contiguous()}, {_ABOUT: about})

    @classmethod
    def unpack(cls, data: bytes) -> "HeldOutFeatures":
        """Read what `pack` wrote.

        Raises:
            CheckpointError: If it is no such file.
        """
        try:
            rows = safetensors.torch.load(data)["rows"]
            length = int.from_bytes(data[:8], "little")
            about = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_ABOUT])
            found = cls(str(about["fingerprint"]), tuple(map(str, about["images"])), rows)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError("The kept features of held-out images are damaged.") from error
        if rows.dtype != torch.float32 or rows.ndim != 2 or len(rows) != len(found.images):
            raise CheckpointError("The kept features of held-out images do not fit together.")
        if not rows.isfinite().all():
            raise CheckpointError("The kept features of held-out images are not finite.")
        return found
