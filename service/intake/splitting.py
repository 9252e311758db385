"""Which images are learned and which are held out for evaluation.

The choice depends only on the images and the seed, never on the order they came in, and copies of one image never end
up on both sides.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

AUTO = "auto"
TRAIN = "train"
EVAL = "eval"
ALWAYS_HELD_OUT_FROM = 4
"""Images of a class from which at least one is held out, however small the share; below, each is needed to learn."""


@dataclass(frozen=True)
class SplitRequest:
    """One image as the splitter sees it."""

    label: str
    blob_sha256: str
    split: str
    """`train`, `eval`, or `auto` to let the splitter choose."""


def assign_splits(samples: Sequence[SplitRequest], *, eval_fraction: float, seed: int) -> list[str]:
    """Return `train` or `eval` for each sample, in order.

    Of each class, `eval_fraction` of the distinct images with split `auto` are held out; at least one stays to learn.
    """
    by_label: dict[str, set[str]] = defaultdict(set)
    fixed = {(s.label, s.blob_sha256): s.split for s in samples if s.split != AUTO}
    for sample in samples:
        if (sample.label, sample.blob_sha256) not in fixed:
            by_label[sample.label].add(sample.blob_sha256)
    held_out = {
        (label, blob)
        for label, blobs in by_label.items()
        for blob in _held_out(blobs, eval_fraction, seed)
    }
    return [
        fixed.get(key) or (EVAL if key in held_out else TRAIN)
        for key in ((s.label, s.blob_sha256) for s in samples)
    ]


def _held_out(blobs: set[str], eval_fraction: float, seed: int) -> list[str]:
    count = round(len(blobs) * eval_fraction)
    if eval_fraction > 0 and len(blobs) >= ALWAYS_HELD_OUT_FROM:
        count = max(count, 1)
    count = min(count, len(blobs) - 1)
    return sorted(blobs, key=lambda blob: sha256(f"{seed}:{blob}".encode()).digest())[:count]
