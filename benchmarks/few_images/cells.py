"""The cells of the grid: which images a learner is taught, which it is asked about, and which nobody taught it.

Shapes: N images, S input side.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.class_incremental import Increment
from benchmarks.datasets import LabelledImages
from models.backbone import Backbone
from models.strategies.values import Task
from service.intake.splitting import SplitRequest, assign_splits
from service.layout.names import AUTO, EVAL

MIXED = "mixed"
"""Instead of a number of images: the classes have as many as `MIX` says, in turn."""
MIX = (3, 100, 5, 50, 10, 20)
CLASSES_A_TASK = 5
HELD_OUT_SHARE = 0.1
"""What the service holds out of a task unless it is told otherwise."""
MOST_UNTAUGHT = 20
"""Classes that are asked about and not taught."""


@dataclass(frozen=True)
class Pool:
    """A data set at the size of a backbone, cut into images to teach and to ask about."""

    name: str
    train: Tensor
    """uint8 `(N, 3, S, S)`."""
    train_targets: NDArray[np.int64]
    test: Tensor
    test_targets: NDArray[np.int64]
    classes: tuple[str, ...]

    @classmethod
    def of(
        cls, name: str, train: LabelledImages, test: LabelledImages, backbone: Backbone
    ) -> "Pool":
        """Bring both splits to the backbone's size."""
        known, asked = (
            torch.stack([backbone.preprocess(image) for image in part.images])
            for part in (train, test)
        )
        return cls(name, known, train.targets, asked, test.targets, train.classes)


@dataclass(frozen=True)
class Stream:
    """What a learner is taught in turn, and what it never is."""

    tasks: list[Increment]
    untaught: Tensor
    """uint8 `(N, 3, S, S)`."""


def cut(
    data: LabelledImages, *, test_share: float, seed: int = 0
) -> tuple[LabelledImages, LabelledImages]:
    """Cut data without a split of its own into images to teach and to ask about, by a seed."""
    train, test = [], []
    for k in range(len(data.classes)):
        rows = np.random.default_rng((seed, k)).permutation(np.flatnonzero(data.targets == k))
        n_test = round(test_share * len(rows))
        test.append(rows[:n_test])
        train.append(rows[n_test:])
    return data.select(np.concatenate(train)), data.select(np.concatenate(test))


def make_stream(
    pool: Pool,
    others: Sequence[Pool],
    *,
    n_classes: int,
    images: int | str,
    seed: int,
    hold_out_from: int = 0,
) -> Stream:
    """Draw classes and images by a seed, and cut the classes into tasks.

    Few images are among the many of the same seed, and the classes and the test are the same for every number.

    Args:
        pool: Where they come from.
        others: Data sets of other things: what nobody taught, if the pool has no class left for that.
        n_classes: To teach.
        images: A class brings, held-out ones among them; `MIXED` is a different number for each, as far as they go.
        seed: Of the choice.
        hold_out_from: Images of a class below which the service holds none out, for the strategy that is taught.

    Raises:
        ValueError: If a class has not that many images, or nothing is left that nobody taught.
    """
    order = np.random.default_rng(seed).permutation(len(pool.classes))
    taught, left = order[:n_classes], order[n_classes:]
    parts = np.array_split(taught, math.ceil(n_classes / CLASSES_A_TASK))
    if images == MIXED:
        there = np.bincount(pool.train_targets, minlength=len(pool.classes))
        numbers = {int(k): min(MIX[i % len(MIX)], int(there[k])) for i, k in enumerate(taught)}
    else:
        numbers = dict.fromkeys(map(int, taught), int(images))
    tasks = [
        _taught(pool, index, part.tolist(), numbers, seed, hold_out_from)
        for index, part in enumerate(parts, start=1)
    ]
    if len(left):
        untaught = pool.test[np.isin(pool.test_targets, left[:MOST_UNTAUGHT])]
    elif others:
        untaught = torch.cat([other.test for other in others])
    else:
        raise ValueError(f"Nothing is left of {pool.name} that nobody taught: add other data.")
    return Stream(tasks, untaught)


def _taught(
    pool: Pool,
    index: int,
    part: list[int],
    numbers: dict[int, int],
    seed: int,
    hold_out_from: int,
) -> Increment:
    drawn = np.concatenate([_draw(pool, k, numbers[k], seed) for k in part])
    labels = [pool.classes[k] for k in pool.train_targets[drawn]]
    wanted = [
        SplitRequest(label, f"{row:064x}", AUTO)
        for row, label in zip(drawn.tolist(), labels, strict=True)
    ]
    splits = assign_splits(
        wanted, eval_fraction=HELD_OUT_SHARE, seed=seed, hold_out_from=hold_out_from
    )
    is_held_out = np.asarray([split == EVAL for split in splits])
    tested = np.isin(pool.test_targets, part)
    task = Task(
        index=index,
        images=pool.train[drawn[~is_held_out]],
        labels=tuple(pool.classes[k] for k in pool.train_targets[drawn[~is_held_out]]),
        seed=seed,
    )
    if is_held_out.any():
        held_out = drawn[is_held_out]
        task = replace(
            task,
            held_out_images=pool.train[held_out],
            held_out_labels=tuple(pool.classes[k] for k in pool.train_targets[held_out]),
        )
    return Increment(
        task, pool.test[tested], tuple(pool.classes[k] for k in pool.test_targets[tested])
    )


def _draw(pool: Pool, k: int, n_images: int, seed: int) -> NDArray[np.int64]:
    rows = np.flatnonzero(pool.train_targets == k)
    if len(rows) < n_images:
        raise ValueError(
            f"{pool.classes[k]} of {pool.name} has {len(rows)} images to teach: too few."
        )
    drawn: NDArray[np.int64] = np.random.default_rng((seed, k)).permutation(rows)[:n_images]
    return drawn
