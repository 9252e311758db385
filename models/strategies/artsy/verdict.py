"""What is asked before a sub-network is trained, and what decides whether it may move the features.

Some of a task's images are kept from the training and judge what came out: each is answered without and with the move,
by heads that never saw it. Ten or twenty images judge, so the losses are compared image by image, and no single one may
outweigh the others.

Shapes: N images of the task, J of them judge, M rows of old classes that are left out in turn.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from models.strategies.artsy.config import Adapting

FEWEST = 3
"""Images of a class, in the mean, below which a sub-network is not tried."""
FEW = 10
"""Images of a class, in the mean, below which one part is too few to judge: all parts do, one after the other."""
PARTS = 5
"""Of the images where they are few. Each part is kept from a training of its own."""
LEAST_WRONG = 0.01
"""Share of a task's images, left out in turn, that have to be answered wrongly for a training to be worth its time."""
JUDGED_SHARE, LEAST_JUDGED_SHARE = 0.2, 0.1
"""Of a class's images that are kept from training to judge it: of few images, and of many."""
ENOUGH_JUDGED = 100
"""Of all classes together, from which the share falls: more tell hardly better, and are missed in the training. It does
not fall below the least share: 100 of 4,000 images of 100 classes let a move pass that cost 2.4 points."""
CAUTION = 0.5
"""Standard errors by which the loss has to fall. Few images judge: more caution refuses what helps most, too."""
LEAST_GAIN = 0.01
"""By how much the loss has to fall in any case. A move costs state, and rows that can be left out in turn: what makes
hardly an answer better is not worth it, however sure it is."""
SURE = 2.0
"""Standard errors: a gain worth a move is given up before all parts have judged if it is further away than so many."""
FEWEST_SURE = 10
"""Images that have to have judged before it is."""
MOST_LOSS = 3.0
"""What one image can cost at most: sure of the wrong answer and surer of it are equally wrong."""


@dataclass(frozen=True)
class Verdict:
    """Whether a sub-network moves the features, and why."""

    adopted: bool
    reason: str
    gain: float | None = None
    """By how much the loss of images that it never saw falls, mean. None where it was not tried."""
    standard_error: float | None = None
    """Of `gain`. None of a single image."""
    gain_old: float | None = None
    """The same as `gain`, of rows of old classes. None where there is none."""
    n: int = 0
    """Images that judged."""


def why_not(targets: Tensor, adapt: Adapting, *, others: bool = False) -> str | None:
    """Return why a sub-network is not worth trying for images of these targets, int64 `(N,)`; None where it is.

    Args:
        targets: int64 `(N,)`.
        adapt: As configured.
        others: Whether further classes are known, that a lone one can be told from.

    Example:
        >>> why_not(torch.tensor([0, 0, 1, 1]), "evidence")
        'fewer than 3 images a class'
        >>> why_not(torch.tensor([0, 0, 1, 1]), "always") is None
        True
    """
    counts = targets.unique(return_counts=True)[1]
    if adapt == "never":
        return "as configured"
    if len(counts) < 2 and not others:
        return "one class alone leaves nothing to tell apart"
    if adapt == "evidence" and float(counts.double().mean()) < FEWEST:
        return f"fewer than {FEWEST} images a class"
    return None


def split(targets: Tensor, *, seed: int) -> Tensor:
    """Choose the images that judge, by a seed.

    Of each class the same share, less where fewer are `ENOUGH_JUDGED` in all, and none where a class has too few for
    one.

    Args:
        targets: int64 `(N,)`.
        seed: Of the choice.

    Returns:
        Bool `(N,)`, True for those that judge.
    """
    generator = torch.Generator().manual_seed(seed)
    enough = ENOUGH_JUDGED / max(1, len(targets))
    share = min(JUDGED_SHARE, max(LEAST_JUDGED_SHARE, enough))
    judged = torch.zeros(len(targets), dtype=torch.bool)
    for k in targets.unique():
        mine = (targets == k).nonzero().squeeze(1)
        drawn = mine[torch.randperm(len(mine), generator=generator)]
        judged[drawn[: int(share * len(mine) + 1e-9)]] = True
    return judged


def parts(targets: Tensor, *, seed: int) -> list[Tensor]:
    """Choose the images that judge each of one or more trainings, by a seed; each bool `(N,)`.

    Where there are `FEW`, all images but those of classes with a single one judge in turn: so many more tell so much
    better. Else one part does, as `split` chooses it.
    """
    if float(targets.unique(return_counts=True)[1].double().mean()) >= FEW:
        return [split(targets, seed=seed)]
    generator = torch.Generator().manual_seed(seed)
    dealt = torch.full_like(targets, -1)
    for k in targets.unique().tolist():
        mine = (targets == k).nonzero().squeeze(1)
        if len(mine) > 1:
            drawn = mine[torch.randperm(len(mine), generator=generator)]
            # Classes begin at different parts: of classes with two images each, all would else be in the first two.
            dealt[drawn] = (torch.arange(len(mine)) + k) % PARTS
    return [dealt == part for part in range(PARTS) if (dealt == part).any()] or [dealt == 0]


def astray(rows: Tensor, residuals: Tensor, *, seed: int) -> Tensor:
    """Put rows of old classes where their images would be after the move, as far off the map as others turned out.

    A map of the features, fitted on a few images, carries all rows alike: among themselves they look as well ordered as
    before, and say nothing about images, which do not follow it exactly. With what it missed by on images that it was
    not fitted on, drawn for each row, the loss of old classes comes out as it is.

    Args:
        rows: Carried by the map, `(M, W)`.
        residuals: True minus mapped features of images that the map was not fitted on, at least one, `(J, W)`.
        seed: Of the draw.

    Returns:
        `(M, W)`.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(residuals), (len(rows),), generator=generator)
    return rows + residuals[drawn].to(rows)


def reach_verdict(
    before: Tensor,
    after: Tensor,
    old_before: Tensor,
    old_after: Tensor,
    *,
    new_share: float = 0.5,
    always: bool = False,
) -> Verdict:
    """Compare losses of the same images without and with the move.

    Args:
        before: Of images of the task that trained nothing, `(J,)`.
        after: The same with the move.
        old_before: Of rows of old classes, `(M,)`; with none of them the task's images decide alone.
        old_after: The same with the move, the rows put `astray`.
        new_share: Share of the task's classes among all: how much its images weigh against the old rows.
        always: Adopt whatever they say.
    """
    if not len(before):
        reason = "as configured" if always else "no image is left to judge it"
        return Verdict(adopted=always, reason=reason)
    gain, error = _fall(before, after)
    gain_old = _fall(old_before, old_after)[0] if len(old_before) else None
    overall = gain if gain_old is None else new_share * gain + (1 - new_share) * gain_old
    helps = gain >= LEAST_GAIN and gain > CAUTION * error and overall > 0
    reason = "as configured" if always else "it helps" if helps else "it does not help enough"
    return Verdict(
        adopted=always or helps,
        reason=reason,
        gain=round(gain, 4),
        standard_error=round(error, 4) if math.isfinite(error) else None,
        gain_old=None if gain_old is None else round(gain_old, 4),
        n=len(before),
    )


def is_hopeless(before: Tensor, after: Tensor) -> bool:
    """Tell whether images that judged so far, `(J,)` as in `reach_verdict`, leave no hope of a gain worth a move.

    Example:
        >>> worse = torch.full((20,), 0.5)
        >>> is_hopeless(worse, 2 * worse), is_hopeless(worse, worse / 2), is_hopeless(worse[:5], 2 * worse[:5])
        (True, False, False)
    """
    if len(before) < FEWEST_SURE:
        return False
    gain, error = _fall(before, after)
    return gain + SURE * error < LEAST_GAIN


def _fall(before: Tensor, after: Tensor) -> tuple[float, float]:
    """Return by how much bounded losses fall in the mean, and its standard error, infinite of a single one."""
    gains = before.double().clamp(max=MOST_LOSS) - after.double().clamp(max=MOST_LOSS)
    error = float(gains.std()) / len(gains) ** 0.5 if len(gains) > 1 else math.inf
    return float(gains.mean()), error
