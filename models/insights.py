"""What a learner's images say of each other: labels that look wrong, look-alikes, and images that pull others wrong.

Told by what is answered to each image without it (`models.leave_one_out`), and by how near their features are.

Shapes: M images, K classes, W feature width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.leave_one_out import LeaveOneOut
from models.novelty import Scale
from models.shown import Shown

SUSPECT_FROM = 0.5
"""By how much more an image looks like another class than like its own, without it, to be suspected. Measured in
docs/understanding-images.md."""
FEWEST_OF_CLASS = 3
"""Images of a class, without which nobody can say that one does not belong to it."""
ALIKE_FROM = 0.85
"""Cosine of features from which two images may be near-duplicates; their pictures decide."""
MOST_PAIRS = 1000
"""Pairs that may be near-duplicates, the nearest ones."""
MOST_WRONG = 500
"""Wrong answers that are looked into, of the images nearest to being answered rightly first."""
_AT_ONCE = 1024


@dataclass(frozen=True)
class ImageInsights:
    """What is known of each image. All int64 and float32, `(M,)`."""

    rows: Tensor
    """What is kept of each, float16 `(M, W)`."""
    answered: Tensor
    """The class that is answered without it."""
    own_score: Tensor
    """Of its own class, without it."""
    answered_score: Tensor
    """Of the class that is answered."""
    novelty: Tensor
    """Without it."""
    suspects: Tensor
    """Images whose label looks wrong, the surest first."""
    look_alike: Tensor
    """The nearest image of another class; -1 without any."""
    look_alike_cosine: Tensor
    pairs: Tensor
    """Images that may be near-duplicates, the nearest first, `(P, 2)`."""
    pair_cosines: Tensor
    """`(P,)`"""
    pulled: dict[int, list[int]]
    """Which images would be answered rightly without each, besides themselves, by image."""

    @property
    def strength(self) -> Tensor:
        """By how much more each looks like what is answered than like its own class, `(M,)`."""
        return self.answered_score - self.own_score


def look_into(shown: Shown, without: LeaveOneOut, scale: Scale, centre: Tensor) -> ImageInsights:
    """Look at all images of a learner.

    Args:
        shown: What it keeps of them.
        without: The same, each time without one.
        scale: Of novelty.
        centre: What features are seen from, `(W,)`.
    """
    answers, distances = without.look()
    novelty = scale.novelty(distances.float(), torch.full((len(distances),), -1.0))
    own = answers.gather(1, shown.targets[:, None])[:, 0]
    best, answered = answers.max(dim=1)
    nearest, cosine, pairs, pair_cosines = _neighbours(shown, centre)
    pulled = _pulled(shown, without, answered, best - own)
    return ImageInsights(
        shown.rows,
        answered,
        own.float(),
        best.float(),
        novelty,
        suspected(shown, answered, best - own),
        nearest,
        cosine,
        pairs,
        pair_cosines,
        pulled,
    )


def suspected(shown: Shown, answered: Tensor, strength: Tensor) -> Tensor:
    """Return the rows whose label looks wrong, the surest first, int64.

    Args:
        shown: What is kept of images.
        answered: Class that is answered to each without it, `(M,)`.
        strength: By how much its score is above that of the image's own class, `(M,)`.
    """
    tells = shown.counts[shown.targets] >= FEWEST_OF_CLASS
    is_suspect = (answered != shown.targets) & (strength >= SUSPECT_FROM) & tells
    rows = is_suspect.nonzero().squeeze(1)
    return rows[strength[rows].argsort(descending=True, stable=True)]


def _neighbours(shown: Shown, centre: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the nearest image of another class, its cosine, pairs that may be near-duplicates, and theirs."""
    x = F.normalize((shown.rows - centre).float(), dim=1)
    nearest, cosines = [], []
    pairs, near = torch.empty(0, 2, dtype=torch.int64), torch.empty(0)
    for rows in torch.arange(len(x)).split(_AT_ONCE):
        cosine = x[rows] @ x.T
        later = torch.arange(len(x)) > rows[:, None]
        found = (later & (cosine >= ALIKE_FROM)).nonzero()
        # Of many alike, such as frames of a video, only the nearest are kept: all of them would fill the memory.
        pairs = torch.cat([pairs, torch.stack([rows[found[:, 0]], found[:, 1]], dim=1)])
        near = torch.cat([near, cosine[found[:, 0], found[:, 1]]])
        order = near.argsort(descending=True, stable=True)[:MOST_PAIRS]
        pairs, near = pairs[order], near[order]
        cosine[shown.targets[rows][:, None] == shown.targets] = -2
        best, place = cosine.max(dim=1)
        nearest.append(torch.where(best < -1, -1, place))
        cosines.append(best)
    return torch.cat(nearest), torch.cat(cosines), pairs, near


def _pulled(
    shown: Shown, without: LeaveOneOut, answered: Tensor, strength: Tensor
) -> dict[int, list[int]]:
    """Return which images of its class would be answered rightly without each image that pulls some wrong."""
    wrong = (answered != shown.targets).nonzero().squeeze(1)
    wrong = wrong[strength[wrong].argsort(stable=True)][:MOST_WRONG]
    found: dict[int, list[int]] = {}
    for row in wrong.tolist():
        for k in (int(shown.targets[row]), int(answered[row])):
            rivals = (shown.targets == k).nonzero().squeeze(1)
            rivals = rivals[rivals != row]
            if len(rivals):
                for rival in rivals[without.mended(row, rivals)].tolist():
                    found.setdefault(rival, []).append(row)
    return found
