"""Images as far as one block: to embed them under a sub-network that differs from there on costs the blocks above."""

import torch
from torch import Tensor

from models.adapter import Adapter
from models.backbone import Backbone, Pooling
from models.passes import Midway, first_difference

MOST_BYTES = 512 << 20
"""Of the tokens that are kept."""
AT_ONCE = 64
"""Images a pass; the same as of `Backbone.embed`, so that features are the same to the bit."""


class Halfway:
    """N images under one sub-network as far as the bottleneck of a block, for any number of embeddings."""

    def __init__(
        self,
        backbone: Backbone,
        images: Tensor,
        adapter: Adapter | None,
        *,
        block: int,
        pooling: Pooling = "backbone",
    ) -> None:
        """Nothing is computed before the first embedding.

        Args:
            backbone: Stays as it is.
            images: uint8 `(N, 3, S, S)`.
            adapter: What the blocks below `block` have; None is nothing.
            block: Index of a block.
            pooling: Of all embeddings.
        """
        self._backbone = backbone
        self._images = images
        self._adapter = adapter
        self._block = block
        self._pooling = pooling
        self._kept: list[Midway] | None = None
        vit = backbone.vit
        n_tokens = vit.patch_embed.num_patches + vit.num_prefix_tokens
        bytes_in_all = 2 * len(images) * n_tokens * vit.embed_dim * torch.float32.itemsize
        self._fits = bytes_in_all <= MOST_BYTES

    @torch.inference_mode()
    def embed(self, adapter: Adapter | None) -> Tensor:
        """Return what `Backbone.embed` returns of the images.

        A sub-network that is another one already below the block, or images that the memory does not suffice for, cost
        a complete pass.
        """
        backbone, block = self._backbone, self._block
        agrees = first_difference([self._adapter, adapter], backbone.depth) >= block
        if not agrees or not self._fits or not len(self._images):
            return backbone.embed(self._images, adapter, pooling=self._pooling, batch_size=AT_ONCE)
        for one in (self._adapter, adapter):
            if one is not None:
                one.eval()
        if self._kept is None:
            self._kept = [
                backbone.begin(part.to(backbone.device), self._adapter, block)
                for part in self._images.split(AT_ONCE)
            ]
        return torch.cat(
            [backbone.finish(midway, adapter, pooling=self._pooling) for midway in self._kept]
        )
