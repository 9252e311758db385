"""Sub-networks: AdaptFormer bottlenecks, one a block, in parallel to the frozen MLP.

Reference:
    Chen et al., 2022, https://arxiv.org/abs/2205.13535, with the settings of EASE (Zhou et al., CVPR 2024): the
    adapter sees the block's input before its second norm, scale 0.1, dropout 0.1, up-projection initialised to zero.
"""

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.state import StateReader

SCALE = 0.1
DROPOUT = 0.1


class Bottleneck(nn.Module):
    """`scale * up(dropout(relu(down(x))))`. Zero at initialisation, so a fresh sub-network changes nothing."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        self.dropout = nn.Dropout(DROPOUT)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens `(B, N, D)` to what is added to them, `(B, N, D)`."""
        out: Tensor = SCALE * self.up(self.dropout(torch.relu(self.down(x))))
        return out


class Adapter(nn.Module):
    """The sub-network of one task: a bottleneck for every block of the backbone."""

    def __init__(self, *, width: int, depth: int, bottleneck: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Bottleneck(width, bottleneck) for _ in range(depth))

    def clone(self) -> "Adapter":
        """Return an independent copy that can be trained."""
        return copy.deepcopy(self)

    def freeze(self) -> "Adapter":
        """Stop learning for good, and return itself."""
        return self.eval().requires_grad_(False)

    @torch.no_grad()
    def consolidate(self, other: "Adapter", *, weight: float) -> None:
        """Move every synapse towards `other`'s by `weight` in `[0, 1]`: the running mean of the tasks' adapters."""
        for mine, theirs in zip(self.parameters(), other.parameters(), strict=True):
            mine.lerp_(theirs, weight)


def adapter_state(adapter: Adapter, prefix: str) -> dict[str, Tensor]:
    """Return the adapter's tensors on the CPU, their keys prefixed."""
    return {f"{prefix}{key}": value.detach().cpu() for key, value in adapter.state_dict().items()}


def load_adapter(
    state: Mapping[str, Tensor], prefix: str, *, width: int, depth: int, bottleneck: int
) -> Adapter:
    """Rebuild a frozen adapter from what `adapter_state` returned.

    Raises:
        CheckpointError: If a tensor is missing, has another shape or type, or is none of an adapter's.
    """
    return StateReader(state, prefix, what="a sub-network").module(
        lambda: Adapter(width=width, depth=depth, bottleneck=bottleneck)
    )
