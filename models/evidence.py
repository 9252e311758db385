"""A head that follows the evidence: closed-form classifiers, weighted by how well they answer for images left out.

No single closed-form head is best from one image a class to thousands: cosines to class means win with few, whitening
by the shared covariance with more, each class's own covariance with many. So all of them answer, and what
cross-validation over the kept rows of features says of each decides how much it counts. The weights fall off with the
loss as those of a posterior over heads do, so a head that is clearly worse counts nothing. All is deterministic and
needs no image.

Shapes: B images, K classes, W feature width, M rows left out in turn.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from models.closed_form import (
    CANDIDATES,
    WITHOUT_EVIDENCE,
    Candidate,
    ClosedForm,
    Kind,
    Scores,
    offered,
)
from models.reference import Prior
from models.shown import Shown
from models.side_by_side import side_by_side
from models.state import StateReader

SHARPNESS = 100.0
"""How many rows left out count at most as independent: a head's weight is `exp(-n (loss - best))`, the posterior's,
with n their number up to this. Between 25 and 100 all is within two tenths of a point, over six data sets."""
BALANCE = 0.5
"""A class of n rows counts `n ** (1 - BALANCE)`: none of them, however few it has, is given up for the others."""
LEAST_WEIGHT = 0.01
"""Of a head that answers; others are left out, and cost nothing."""
FOLDS = 5
MOST_LEFT_OUT = 2000
"""Rows that are left out in turn at most, the same number of each class as far as there are."""
FEWEST_TO_TELL = 200
"""Rows of the first fold from which heads that do not count there are not asked about the others: fewer are soon asked,
and chance would tell."""
TEMPERATURES = torch.logspace(-1.2, 1.2, 25, dtype=torch.float64)
"""Among which each head's is chosen; 1 is what it is built for."""


@dataclass(frozen=True)
class Opinion:
    """How much one head counts."""

    candidate: Candidate
    weight: float
    temperature: float
    loss: float | None
    """Mean negative log-likelihood of rows left out. None without evidence."""

    def as_json(self) -> dict[str, Any]:
        """Return what a version tells of it."""
        return {
            "classifier": self.candidate.name,
            "weight": round(self.weight, 4),
            "temperature": round(self.temperature, 4),
            "loss": None if self.loss is None else round(self.loss, 4),
        }


@dataclass(frozen=True)
class Fold:
    """Some rows, and what there is without them."""

    shown: Shown
    is_out: Tensor
    """Whether each row of `shown` is left out, bool `(M,)`."""

    @property
    def rows(self) -> Tensor:
        """Which rows are left out, int64 `(R,)`."""
        return self.is_out.nonzero().squeeze(1)

    @property
    def rest(self) -> Shown:
        """What there is without them, put together each time: of many rows it is as much memory as all."""
        return self.shown.without(self.is_out)


@dataclass(frozen=True)
class Answer:
    """What all heads say together, and how far off the images are."""

    probabilities: Tensor
    """Calibrated, float32 `(B, K)`."""
    distances: Tensor
    """As `Distances.measure` returns them, `(B,)`."""
    beyond_nothing: Tensor
    """The same, `(B,)`."""


class EvidenceHead:
    """The heads that count, as one."""

    def __init__(
        self, shown: Shown, prior: Prior, opinions: Sequence[Opinion], *, measures: bool = True
    ) -> None:
        """Build every head with an opinion. The weights add up to 1; for the rest see `ClosedForm`."""
        self.opinions = tuple(opinions)
        self.heads = ClosedForm(shown, prior, [o.candidate for o in opinions], measures=measures)
        self._weights = torch.tensor([o.weight for o in opinions])[:, None, None]
        self._temperatures = torch.tensor([o.temperature for o in opinions])[:, None, None]

    def answer(self, features: Tensor) -> Answer:
        """Look at features `(B, W)`. Only of heads that measure."""
        scores = self.heads.scores(features)
        return Answer(self._mixed(scores.logits), scores.distances, scores.beyond_nothing)

    def probabilities(self, features: Tensor) -> Tensor:
        """Return calibrated probabilities `(B, K)`, float32, of features `(B, W)`."""
        return self._mixed(self.heads.logits(features))

    def each(self, features: Tensor) -> list[tuple[Opinion, Tensor]]:
        """Return the probabilities `(B, K)` that each head alone gives features `(B, W)`, with how much it counts."""
        logits = self.heads.logits(features)
        return [
            (opinion, torch.softmax(logits[opinion.candidate] / opinion.temperature, dim=1))
            for opinion in self.opinions
        ]

    def _mixed(self, logits: Mapping[Candidate, Tensor]) -> Tensor:
        scaled = torch.stack(list(logits.values())) / self._temperatures
        return (self._weights * torch.softmax(scaled, dim=2)).sum(dim=0)


@dataclass(frozen=True)
class Weighed:
    """What rows left out in turn say, fold after fold. Shapes: M of them, K classes."""

    opinions: list[Opinion]
    """The heads that count."""
    answers: Tensor
    """What these answer together: probabilities, float64 `(M, K)`."""
    distances: Tensor
    """As `Distances.measure` returns them, `(M,)`."""
    beyond_nothing: Tensor
    """The same, `(M,)`."""


def without_evidence(shown: Shown, prior: Prior) -> list[Opinion]:
    """Return what to believe where no row can be left out, at the temperatures they are built for."""
    heads = [c for c in offered(shown, prior) if c in WITHOUT_EVIDENCE]
    total = sum(WITHOUT_EVIDENCE[c] for c in heads)
    return [Opinion(c, WITHOUT_EVIDENCE[c] / total, 1.0, None) for c in heads]


def folds(shown: Shown) -> list[Fold]:
    """Deal out the rows that are left out in turn.

    Of each class the first ones, as many of each, and none whose image trained a sub-network: its features flatter. A
    class with a single image is always there.
    """
    n_classes = len(shown.counts)
    most = max(2, MOST_LEFT_OUT // max(1, n_classes))
    place = torch.full_like(shown.targets, most)
    untrained = shown.untrained.nonzero().squeeze(1)
    place[untrained] = shown.select(untrained).place
    is_dealt = (place < most) & (shown.counts[shown.targets] > 1)
    # Classes begin at different folds: of classes with two rows each, all would else be in the first two.
    dealt = torch.where(is_dealt, (place + shown.targets) % FOLDS, -1)
    return [Fold(shown, dealt == f) for f in dealt[is_dealt].unique().tolist()]


def balance(targets: Tensor) -> Tensor:
    """Return how much each row counts, float64 `(M,)`, so that they add up to 1."""
    weights = torch.bincount(targets)[targets].double() ** -BALANCE
    return weights / weights.sum()


def weigh(shown: Shown, prior: Prior, left_out: Sequence[Fold]) -> Weighed:
    """Ask every head about rows it never saw, and say how much each counts.

    Args:
        shown: At least one image.
        prior: What is known of features in general.
        left_out: As `folds` dealt them.
    """
    n_classes = len(shown.counts)
    asked = _ask(shown, prior, left_out)
    none = [torch.zeros(0)]
    distances = torch.cat([scores.distances for scores in asked] or none)
    beyond_nothing = torch.cat([scores.beyond_nothing for scores in asked] or none)
    if not left_out or n_classes < 2:
        certain = torch.ones(len(distances), n_classes).double()
        return Weighed(without_evidence(shown, prior), certain, distances, beyond_nothing)
    targets = shown.targets[torch.cat([fold.rows for fold in left_out])]
    fitted = _fitted(asked, targets)
    opinions, mixture = [], torch.zeros(len(targets), n_classes, dtype=torch.float64)
    for candidate, weight in _counted(fitted).items():
        logits, temperature, loss = fitted[candidate]
        opinions.append(Opinion(candidate, weight, temperature, loss))
        mixture += weight * torch.softmax(logits / temperature, dim=1)
    return Weighed(opinions, mixture, distances, beyond_nothing)


def _ask(shown: Shown, prior: Prior, left_out: Sequence[Fold]) -> list[Scores]:
    """Return what heads that never saw them say of the rows of each fold; one that is not promising may be left out."""
    n_classes = len(shown.counts)
    promising: set[Candidate] = set(CANDIDATES)

    def ask(fold: Fold) -> Scores:
        rest = fold.rest
        candidates = offered(rest, prior) if n_classes > 1 else []
        heads = ClosedForm(rest, prior, [c for c in candidates if c in promising])
        return heads.scores(shown.rows[fold.rows])

    first = [f for f in left_out[:1] if len(f.rows) >= FEWEST_TO_TELL and n_classes > 1]
    asked = [_ask_all(shown, prior, fold) for fold in first]
    if asked:
        promising = set(_counted(_fitted(asked, shown.targets[first[0].rows])))
    return asked + side_by_side(ask, left_out[len(first) :])


def _ask_all(shown: Shown, prior: Prior, fold: Fold) -> Scores:
    """Return what every head says of the rows of a fold: own covariances, which take as long as all others, beside."""
    rest, x = fold.rest, shown.rows[fold.rows]
    candidates = offered(rest, prior)

    def ask(kinds: list[Candidate]) -> Scores:
        return ClosedForm(rest, prior, kinds).scores(x)

    others = [c for c in candidates if c.kind != "own"]
    own = [c for c in candidates if c.kind == "own"]
    found = side_by_side(ask, [others, own] if own else [others])
    logits = {c: each for scores in found for c, each in scores.logits.items()}
    return replace(found[0], logits={c: logits[c] for c in candidates})


def opinions_tensor(opinions: Sequence[Opinion]) -> Tensor:
    """Return opinions as they are stored: kind, shrinkage, prior, weight, temperature and loss, float64 `(H, 6)`."""
    kinds = get_args(Kind)
    rows = [
        (
            float(kinds.index(opinion.candidate.kind)),
            opinion.candidate.shrinkage,
            opinion.candidate.prior,
            opinion.weight,
            opinion.temperature,
            -1.0 if opinion.loss is None else opinion.loss,
        )
        for opinion in opinions
    ]
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 6)


def opinions_from(reader: StateReader, name: str, buildable: Sequence[Candidate]) -> list[Opinion]:
    """Return what `opinions_tensor` stored.

    Args:
        reader: Of the state.
        name: Of the tensor.
        buildable: Heads that are `offered`; opinions on other kinds are forged.

    Raises:
        CheckpointError: If it is missing, or no such opinions.
    """
    stored = reader.tensor(name, (None, 6), torch.float64)
    kinds = get_args(Kind)
    kind, shrinkage, _, weight, temperature, _ = stored.T
    fits = (kind >= 0) & (kind < len(kinds)) & (shrinkage >= 0) & (shrinkage <= 1)
    reader.require(len(stored) > 0 and bool((fits & (weight >= 0) & (temperature > 0)).all()), name)
    opinions = [
        Opinion(
            Candidate(kinds[int(row[0])], row[1], row[2]),
            row[3],
            row[4],
            None if row[5] < 0 else row[5],
        )
        for row in stored.tolist()
    ]
    possible = {candidate.kind for candidate in buildable}
    reader.require(all(opinion.candidate.kind in possible for opinion in opinions), name)
    return opinions


def _fitted(
    asked: Sequence[Scores], targets: Tensor
) -> dict[Candidate, tuple[Tensor, float, float]]:
    """Return what each head that was asked about all rows says of them, `(M, K)`, its temperature, and its loss."""
    common = [c for c in asked[0].logits if all(c in scores.logits for scores in asked)]
    joined = {c: torch.cat([scores.logits[c] for scores in asked]) for c in common}
    return {c: (logits, *_fit_temperature(logits, targets)) for c, logits in joined.items()}


def _counted(fitted: Mapping[Candidate, tuple[Tensor, float, float]]) -> dict[Candidate, float]:
    """Return the weights of the heads that count; they add up to 1."""
    losses = {candidate: loss for candidate, (_, _, loss) in fitted.items()}
    best = min(losses.values())
    n_rows = len(next(iter(fitted.values()))[0])
    sharpness = min(SHARPNESS, float(n_rows))
    weights = {c: math.exp(-sharpness * (loss - best)) for c, loss in losses.items()}
    least = LEAST_WEIGHT * sum(weights.values())
    total = sum(weight for weight in weights.values() if weight >= least)
    return {c: weight / total for c, weight in weights.items() if weight >= least}


def _fit_temperature(scores: Tensor, targets: Tensor) -> tuple[float, float]:
    """Return the most probable temperature with a log-normal prior around 1, and the loss at it."""
    weights = balance(targets)

    @cache
    def losses(place: int) -> tuple[float, float, float]:
        temperature = float(TEMPERATURES[place])
        each = F.cross_entropy(scores / temperature, targets, reduction="none").double()
        loss = float((each.clamp(max=30) * weights).sum())
        return loss + 0.5 * math.log(temperature) ** 2 / len(targets), temperature, loss

    # It falls to one lowest place and rises from there: the side that falls is followed.
    first, last = 0, len(TEMPERATURES) - 1
    while first < last:
        middle = (first + last) // 2
        if losses(middle)[0] <= losses(middle + 1)[0]:
            last = middle
        else:
            first = middle + 1
    _, temperature, loss = losses(first)
    return temperature, loss
