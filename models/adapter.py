"""Sub-networks: AdaptFormer bottlenecks, one a block, in parallel to the frozen MLP, in all blocks or the last ones.

Reference:
    Chen et al., 2022, https://arxiv.org/abs/2205.13535, with the settings of EASE (Zhou et al., CVPR 2024): the
    adapter sees the block's input before its second norm, scale 0.1, dropout 0.1, up-projection initialised to zero.
"""

import copy
import math
import re
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from models.state import StateReader, with_prefix

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
    """The sub-network of one task: a bottleneck for each of the backbone's last blocks, or for all of them."""

    def __init__(self, *, width: int, depth: int, bottleneck: int, first: int = 0) -> None:
        """Draw the bottlenecks.

        Args:
            width: Of the backbone's tokens.
            depth: Blocks of the backbone.
            bottleneck: Width of each bottleneck.
            first: Index of the first block that has one; those below it stay as they are.
        """
        super().__init__()
        self.blocks = nn.ModuleDict(
            {str(block): Bottleneck(width, bottleneck) for block in range(first, depth)}
        )

    @property
    def first(self) -> int:
        """Index of the first block that has a bottleneck."""
        return min(int(block) for block in self.blocks)

    def at(self, block: int) -> Bottleneck | None:
        """Return the bottleneck of a block; None where it has none."""
        key = str(block)
        return cast("Bottleneck", self.blocks[key]) if key in self.blocks else None

    def clone(self) -> "Adapter":
        """Return an independent copy that can be trained."""
        return copy.deepcopy(self)

    def grown(self, other: "Adapter") -> "Adapter":
        """Return an independent copy, with `other`'s bottlenecks in the blocks where this one has none."""
        grown = self.clone()
        for block, bottleneck in other.blocks.items():
            if block not in grown.blocks:
                grown.blocks[block] = copy.deepcopy(bottleneck)
        return grown

    def freeze(self) -> "Adapter":
        """Stop learning for good, and return itself."""
        return self.eval().requires_grad_(False)

    def thaw(self, first: int) -> list[nn.Parameter]:
        """Let the blocks from `first` on learn, and return their parameters."""
        learning = (self.blocks[block] for block in self.blocks if int(block) >= first)
        return [
            parameter
            for bottleneck in learning
            for parameter in bottleneck.train().requires_grad_(True).parameters()
        ]

    @torch.no_grad()
    def consolidate(self, other: "Adapter", *, weight: float) -> None:
        """Move every synapse towards `other`'s by `weight` in `[0, 1]`: the running mean of the tasks' adapters.

        A block without a bottleneck counts as one that adds nothing.
        """
        missing = sorted({*self.blocks, *other.blocks} - {*self.blocks}, key=int)
        for block in missing:
            self.blocks[block] = _silenced(cast("Bottleneck", other.blocks[block]))
        for block, mine in self.blocks.items():
            bottleneck = cast("Bottleneck", mine)
            theirs = other.at(int(block)) or _silenced(bottleneck)
            for synapse, target in zip(bottleneck.parameters(), theirs.parameters(), strict=True):
                synapse.lerp_(target, weight)


def _silenced(bottleneck: Bottleneck) -> Bottleneck:
    """Return a copy that adds nothing, whatever it reads."""
    silent = copy.deepcopy(bottleneck)
    nn.init.zeros_(silent.up.weight)
    nn.init.zeros_(silent.up.bias)
    return silent


def adapter_state(adapter: Adapter, prefix: str) -> dict[str, Tensor]:
    """Return the adapter's tensors on the CPU, their keys prefixed."""
    return {f"{prefix}{key}": value.detach().cpu() for key, value in adapter.state_dict().items()}


def load_adapter(
    state: Mapping[str, Tensor], prefix: str, *, width: int, depth: int, bottleneck: int
) -> Adapter:
    """Rebuild a frozen adapter from what `adapter_state` returned. Its keys say which blocks have a bottleneck.

    Raises:
        CheckpointError: If a tensor is missing, has another shape or type, or is none of an adapter's; or if blocks
            have bottlenecks that are not the last ones.
    """
    named = (re.match(r"blocks\.(\d{1,4})\.", key) for key in with_prefix(state, prefix))
    first = min((int(name[1]) for name in named if name), default=0)
    return StateReader(state, prefix, what="a sub-network").module(
        lambda: Adapter(
            width=width, depth=depth, bottleneck=bottleneck, first=min(first, depth - 1)
        )
    )
