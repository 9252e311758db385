"""A pass through a vision transformer that stops at a block's bottleneck and goes on from there.

What lies below the first bottleneck that is trained, or below the first in which sub-networks differ, is the same every
time: it is computed once. Shapes: B images, T tokens, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from models.adapter import Adapter
from models.timm_parts import Attention, Block, VisionTransformer


@dataclass(frozen=True)
class Midway:
    """Where a pass stopped: all that it needs to go on from one block's bottleneck."""

    block: int
    """Index of the block."""
    inputs: Tensor
    """What the bottleneck reads: the tokens after the block's attention, `(B, T, D)`."""
    sums: Tensor
    """The same plus what the block's MLP adds: all but the bottleneck, `(B, T, D)`."""


def tokens_of(vit: VisionTransformer, pixels: Tensor) -> Tensor:
    """Return the tokens that the first block reads, `(B, T, D)`, of normalised images `(B, 3, S, S)`."""
    tokens: Tensor = vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(pixels))))
    return tokens


def go_to(vit: VisionTransformer, tokens: Tensor, adapter: Adapter | None, block: int) -> Midway:
    """Pass tokens `(B, T, D)` through the blocks below one, and through all of it but its bottleneck."""
    for i in range(block):
        midway = _enter(vit, i, tokens)
        tokens = _leave(midway, adapter)
    return _enter(vit, block, tokens)


def finish(vit: VisionTransformer, midway: Midway, adapter: Adapter | None) -> Tensor:
    """Go on to the end, and return the normed tokens, `(B, T, D)`."""
    tokens = _leave(midway, adapter)
    for i in range(midway.block + 1, len(vit.blocks)):
        tokens = _leave(_enter(vit, i, tokens), adapter)
    normed: Tensor = vit.norm(tokens)
    return normed


def finish_to_features(vit: VisionTransformer, midway: Midway, adapter: Adapter | None) -> Tensor:
    """Go on to the end, and return what the backbone's own head would read, `(B, D)`.

    Where that is the class token alone, the last block computes no other: the same but for rounding.
    """
    last = len(vit.blocks) - 1
    if not _reads_class_token(vit) or midway.block == last:
        return vit.forward_head(finish(vit, midway, adapter), pre_logits=True)
    tokens = _leave(midway, adapter)
    for i in range(midway.block + 1, last):
        tokens = _leave(_enter(vit, i, tokens), adapter)
    token = _leave(_enter_with_class_token(vit, last, tokens), adapter)
    return vit.forward_head(vit.norm(token), pre_logits=True)


def first_difference(adapters: Sequence[Adapter | None], depth: int) -> int:
    """Return the first block of `depth` in which sub-networks differ; the last one where they do not."""
    for block in range(depth - 1):
        states = [None if a is None else _state(a, block) for a in adapters]
        if any(not _is_same(state, states[0]) for state in states[1:]):
            return block
    return depth - 1


def _enter(vit: VisionTransformer, i: int, tokens: Tensor) -> Midway:
    block = cast("Block", vit.blocks[i])
    inputs = tokens + block.ls1(block.attn(block.norm1(tokens)))
    return Midway(i, inputs, inputs + block.ls2(block.mlp(block.norm2(inputs))))


def _leave(midway: Midway, adapter: Adapter | None) -> Tensor:
    bottleneck = None if adapter is None else adapter.at(midway.block)
    if bottleneck is None:
        return midway.sums
    out: Tensor = midway.sums + bottleneck(midway.inputs)
    return out


def _enter_with_class_token(vit: VisionTransformer, i: int, tokens: Tensor) -> Midway:
    """Do what `_enter` does for the class token alone: it asks all tokens, and nobody asks for the others."""
    block = cast("Block", vit.blocks[i])
    attention = cast("Attention", block.attn)
    normed = block.norm1(tokens)
    B, _, D = normed.shape
    weight, bias = attention.qkv.weight, attention.qkv.bias
    in_heads = (B, -1, attention.num_heads, attention.head_dim)
    queries, keys, values = (
        F.linear(rows, weight[part], None if bias is None else bias[part])
        .view(in_heads)
        .transpose(1, 2)
        for rows, part in (
            (normed[:, :1], slice(0, D)),
            (normed, slice(D, 2 * D)),
            (normed, slice(2 * D, 3 * D)),
        )
    )
    asked = F.scaled_dot_product_attention(
        attention.q_norm(queries), attention.k_norm(keys), values
    )
    mixed = attention.proj(attention.norm(asked.transpose(1, 2).reshape(B, 1, D)))
    inputs = tokens[:, :1] + block.ls1(mixed)
    return Midway(i, inputs, inputs + block.ls2(block.mlp(block.norm2(inputs))))


def _reads_class_token(vit: VisionTransformer) -> bool:
    attention = cast("Block", vit.blocks[-1]).attn
    is_plain = (
        type(attention) is Attention
        and getattr(attention, "gate", None) is None
        and attention.qkv.out_features == 3 * vit.embed_dim
    )
    return is_plain and vit.global_pool == "token" and vit.attn_pool is None


def _state(adapter: Adapter, block: int) -> dict[str, Tensor] | None:
    bottleneck = adapter.at(block)
    return None if bottleneck is None else bottleneck.state_dict()


def _is_same(one: dict[str, Tensor] | None, other: dict[str, Tensor] | None) -> bool:
    if one is None or other is None:
        return one is other
    return all(torch.equal(one[key], other[key]) for key in one)
