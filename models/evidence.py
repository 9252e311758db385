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
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from models.own_covariances import OwnCovariances
from models.shown import Shown
from models.state import StateReader

Kind = Literal["cosine", "centred", "whitened", "own"]
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
TEMPERATURES = torch.logspace(-1.2, 1.2, 25, dtype=torch.float64)
"""Among which each head's is chosen; 1 is what it is built for."""


@dataclass(frozen=True)
class Candidate:
    """One closed-form head."""

    kind: Kind
    shrinkage: float = 1.0
    """Share of the shared covariance that is replaced by a sphere of the same trace."""
    prior: float = 0.0
    """Of own covariances: see `OwnCovariances`."""

    @property
    def name(self) -> str:
        """How a version tells of it."""
        return {
            "cosine": "cosine",
            "centred": "centred cosine",
            "whitened": f"whitened cosine {self.shrinkage:g}",
            "own": f"own covariances {self.shrinkage:g}",
        }[self.kind]


CANDIDATES = (
    Candidate("cosine"),
    Candidate("centred"),
    *(Candidate("whitened", shrinkage) for shrinkage in (0.9, 0.6, 0.3, 0.1, 0.03)),
    Candidate("own", 0.3, 1.0),
    Candidate("own", 0.1, 4.0),
)
_SHARPNESS_OF_COSINES: Mapping[Kind, float] = {"cosine": 16.0, "centred": 8.0, "whitened": 8.0}


class SharedSpace:
    """Classes in the axes of their shared covariance, where every shrinkage is a scaling of each axis."""

    def __init__(self, shown: Shown, centre: Tensor) -> None:
        """Find the axes.

        Args:
            shown: At least one image.
            centre: What nothing in particular looks like, `(W,)`; zeros where that is not known.
        """
        self.shown, self.centre = shown, centre
        self.empty = shown.counts == 0
        self.values: Tensor | None = None
        if shown.freedom > 0:
            self.values, self.axes = torch.linalg.eigh(shown.scatter / shown.freedom)
            self.means = (shown.means - centre) @ self.axes

    def offers(self, candidate: Candidate) -> bool:
        """Tell whether there is enough to build a head: one class has to have two images, for most."""
        if candidate.kind == "cosine":
            return True
        if candidate.kind == "centred":
            return bool(self.centre.any())
        if candidate.kind == "own":
            return OwnCovariances.pay(self.shown)
        return self.values is not None

    def scales(self, shrinkage: float) -> Tensor:
        """Return what each axis is multiplied by, `(W,)`, so that the shrunk covariance becomes the identity."""
        assert self.values is not None
        sphere = self.values.mean().clamp(min=1e-12)
        return ((1 - shrinkage) * self.values + shrinkage * sphere).clamp(min=1e-12).rsqrt()


class ClosedFormHead:
    """One candidate, built."""

    def __init__(self, candidate: Candidate, space: SharedSpace) -> None:
        self.candidate = candidate
        self._empty = space.empty
        self._own: OwnCovariances | None = None
        means = space.shown.means
        if candidate.kind == "cosine":
            self._centre, self._map = torch.zeros_like(space.centre), None
        elif candidate.kind == "centred":
            means, self._centre, self._map = means - space.centre, space.centre, None
        else:
            scales = space.scales(candidate.shrinkage)
            self._centre, self._map = space.centre, (space.axes * scales).float()
            means = space.means * scales
            if candidate.kind == "own":
                self._own = OwnCovariances(
                    space.shown, means, space.centre, space.axes * scales, prior=candidate.prior
                )
        self._means = F.normalize(means, dim=1).float()
        self._centre = self._centre.float()

    def logits(self, features: Tensor) -> Tensor:
        """Return scores `(B, K)`, float32, for features `(B, W)`; a class without images has the lowest there is."""
        x = features.float() - self._centre
        if self._map is not None:
            x = x @ self._map
        if self._own is not None:
            scores = self._own.logits(x)
        else:
            scores = F.normalize(x, dim=1) @ self._means.T
            scores = scores * _SHARPNESS_OF_COSINES[self.candidate.kind]
        return scores.masked_fill(self._empty, torch.finfo(scores.dtype).min)


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

    rows: Tensor
    """Which rows of `Shown` are left out, int64 `(R,)`."""
    rest: Shown


class EvidenceHead:
    """The heads that count, as one."""

    def __init__(self, shown: Shown, centre: Tensor, opinions: Sequence[Opinion]) -> None:
        """Build every head with an opinion. The weights add up to 1."""
        space = SharedSpace(shown, centre)
        self.opinions = tuple(opinions)
        self._heads = [ClosedFormHead(opinion.candidate, space) for opinion in opinions]

    def probabilities(self, features: Tensor) -> Tensor:
        """Return calibrated probabilities `(B, K)`, float32, of features `(B, W)`."""
        x = features.float().cpu()
        parts = [
            opinion.weight * torch.softmax(head.logits(x) / opinion.temperature, dim=1)
            for opinion, head in zip(self.opinions, self._heads, strict=True)
        ]
        return torch.stack(parts).sum(dim=0)


def without_evidence(shown: Shown, centre: Tensor) -> list[Opinion]:
    """Return what to believe where no row can be left out: cosines, at the temperature they are built for."""
    space = SharedSpace(shown, centre)
    heads = [c for c in CANDIDATES[:2] if space.offers(c)]
    return [Opinion(c, 1 / len(heads), 1.0, None) for c in heads]


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
    return [
        Fold((dealt == f).nonzero().squeeze(1), shown.without(dealt == f))
        for f in dealt[is_dealt].unique().tolist()
    ]


def balance(targets: Tensor) -> Tensor:
    """Return how much each row counts, float64 `(M,)`, so that they add up to 1."""
    weights = torch.bincount(targets)[targets].double() ** -BALANCE
    return weights / weights.sum()


def weigh(shown: Shown, centre: Tensor, left_out: Sequence[Fold]) -> tuple[list[Opinion], Tensor]:
    """Ask every head about rows it never saw, and say how much each counts.

    Args:
        shown: At least one image.
        centre: See `SharedSpace`.
        left_out: As `folds` dealt them.

    Returns:
        The heads that count, and what they answer together to the rows left out, fold after fold: probabilities
        `(M, K)`, float64.
    """
    n_classes = len(shown.counts)
    if not left_out or n_classes < 2:
        n_rows = sum(len(fold.rows) for fold in left_out)
        return without_evidence(shown, centre), torch.ones(n_rows, n_classes).double()
    scores: dict[Candidate, list[Tensor]] = {}
    for fold in left_out:
        space = SharedSpace(fold.rest, centre)
        for candidate in filter(space.offers, CANDIDATES):
            logits = ClosedFormHead(candidate, space).logits(shown.rows[fold.rows])
            scores.setdefault(candidate, []).append(logits)
    targets = shown.targets[torch.cat([fold.rows for fold in left_out])]
    fitted = {
        candidate: (joined, *_fit_temperature(joined, targets))
        for candidate, parts in scores.items()
        if len(parts) == len(left_out)
        for joined in [torch.cat(parts)]
    }
    best = min(loss for _, _, loss in fitted.values())
    sharpness = min(SHARPNESS, float(len(targets)))
    weights = {c: math.exp(-sharpness * (loss - best)) for c, (_, _, loss) in fitted.items()}
    total = sum(weights.values())
    counted = {c: weight for c, weight in weights.items() if weight >= LEAST_WEIGHT * total}
    total = sum(counted.values())
    opinions, mixture = [], torch.zeros(len(targets), n_classes, dtype=torch.float64)
    for candidate, weight in counted.items():
        logits, temperature, loss = fitted[candidate]
        opinions.append(Opinion(candidate, weight / total, temperature, loss))
        mixture += weight / total * torch.softmax(logits.double() / temperature, dim=1)
    return opinions, mixture


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


def opinions_from(reader: StateReader, name: str) -> list[Opinion]:
    """Return what `opinions_tensor` stored.

    Raises:
        CheckpointError: If it is missing, or no such opinions.
    """
    stored = reader.tensor(name, (None, 6), torch.float64)
    kinds = get_args(Kind)
    kind, shrinkage, _, weight, temperature, _ = stored.T
    fits = (kind >= 0) & (kind < len(kinds)) & (shrinkage >= 0) & (shrinkage <= 1)
    reader.require(len(stored) > 0 and bool((fits & (weight >= 0) & (temperature > 0)).all()), name)
    return [
        Opinion(
            Candidate(kinds[int(row[0])], row[1], row[2]),
            row[3],
            row[4],
            None if row[5] < 0 else row[5],
        )
        for row in stored.tolist()
    ]


def _fit_temperature(scores: Tensor, targets: Tensor) -> tuple[float, float]:
    """Return the most probable temperature with a log-normal prior around 1, and the loss at it."""
    weights = balance(targets)
    best = (math.inf, 1.0, math.inf)
    for temperature in TEMPERATURES.tolist():
        each = F.cross_entropy(scores / temperature, targets, reduction="none").double()
        loss = float((each.clamp(max=30) * weights).sum())
        penalised = loss + 0.5 * math.log(temperature) ** 2 / len(targets)
        best = min(best, (penalised, temperature, loss))
    return best[1], best[2]
