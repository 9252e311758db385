"""Which images are learned and which are held out for evaluation.

The choice depends only on the images, the seed, and what the learner has of a class already, never on the order they
came in. Copies of one image never end up on both sides.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from registry.growth import ClassSize
from service.layout.names import AUTO, EVAL, TRAIN

ALWAYS_HELD_OUT_FROM = 4
"""Images of a class from which at least one is held out, however small the share; below, each is needed to learn."""
CROSS_VALIDATED_BELOW = 20
"""Images of a class below which none is held out for a strategy that measures itself on those it learns from. The usual
tenth is one image there: its answer leaves the class anywhere between 0 and 79 % or 21 and 100 %, and it would cost the
class 5 % or more of what it learns from, where an image weighs most."""
NOTHING = ClassSize()


@dataclass(frozen=True)
class SplitRequest:
    """One image as the splitter sees it."""

    label: str
    blob_sha256: str
    split: str
    """`train`, `eval`, or `auto` to let the splitter choose."""


def assign_splits(
    samples: Sequence[SplitRequest],
    *,
    eval_fraction: float,
    seed: int,
    sizes: Mapping[str, ClassSize] | None = None,
    hold_out_from: int = 0,
) -> list[str]:
    """Return `train` or `eval` for each sample, in order.

    Of each class, `eval_fraction` of the distinct images with split `auto` are held out, counted together with those
    that the learner has already: so a class that grows image by image keeps that share too. A new class keeps at least
    one to learn, and so does the batch.

    Args:
        samples: The images.
        eval_fraction: Share of each class that is held out.
        seed: Decides which.
        sizes: How many images the learner has of each class; None is a learner that has none.
        hold_out_from: Images of a class, with those that the learner has, below which none with split `auto` is held
            out.
    """
    sizes = sizes or {}
    by_label: dict[str, set[str]] = defaultdict(set)
    fixed = {(s.label, s.blob_sha256): s.split for s in samples if s.split != AUTO}
    for sample in samples:
        if (sample.label, sample.blob_sha256) not in fixed:
            by_label[sample.label].add(sample.blob_sha256)
    held_out = {
        (label, blob)
        for label, blobs in by_label.items()
        for blob in _held_out(blobs, eval_fraction, seed, sizes.get(label, NOTHING))
        if len(blobs) + sizes.get(label, NOTHING).n_images >= hold_out_from
    }
    n_auto = sum(map(len, by_label.values()))
    if held_out and len(held_out) == n_auto and TRAIN not in fixed.values():
        held_out.remove(max(held_out, key=lambda key: _rank(key[1], seed)))
    return [
        fixed.get(key) or (EVAL if key in held_out else TRAIN)
        for key in ((s.label, s.blob_sha256) for s in samples)
    ]


def _held_out(blobs: set[str], eval_fraction: float, seed: int, size: ClassSize) -> list[str]:
    n_images = size.n_images + len(blobs)
    count = round(n_images * eval_fraction)
    if eval_fraction > 0 and n_images >= ALWAYS_HELD_OUT_FROM:
        count = max(count, 1)
    # What earlier batches owe is made up for slowly: whoever sends ten images wants them learned.
    count = min(count - size.n_held_out, math.ceil(len(blobs) * eval_fraction))
    if size.n_images == size.n_held_out:
        count = min(count, len(blobs) - 1)
    return sorted(blobs, key=lambda blob: _rank(blob, seed))[: max(count, 0)]


def _rank(blob: str, seed: int) -> bytes:
    return sha256(f"{seed}:{blob}".encode()).digest()
