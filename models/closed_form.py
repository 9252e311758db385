"""Closed-form heads over what was shown: cosines, whitened cosines, and Gaussians, all built of shared parts.

Every head compares a feature with the class means under some metric. Those of the learner's own covariance share its
axes, in which each shrinkage is a scaling, so one product with the means serves them all. The others see the features
through the background: in the space of novelty, and along the directions that tell classes in general apart.

Shapes: B images, K classes, W feature width, R axes, A shrinkages.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from models.linear_form import LinearForm, inverse_of
from models.novelty import SHRINKAGE, Distances, to_nearest
from models.own_covariances import OwnCovariances, gaps_of
from models.reference import Prior
from models.shown import Shown

Kind = Literal["cosine", "centred", "whitened", "own", "pooled", "posterior"]
_SHARPNESS: dict[Kind, float] = {
    "cosine": 16.0, "centred": 8.0, "whitened": 8.0, "own": 1.0, "pooled": 8.0, "posterior": 12.0,
}  # fmt: skip
"""What is multiplied to become logits, about right with few images. Log-likelihoods are some already."""


@dataclass(frozen=True)
class Candidate:
    """One closed-form head."""

    kind: Kind
    shrinkage: float = 1.0
    """Share of the covariance within classes that is replaced by a sphere of the same trace."""
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
            "pooled": f"cosine whitened with the background {self.shrinkage:g}",
            "posterior": f"means drawn to the background {self.shrinkage:g}",
        }[self.kind]

    @property
    def sharpness(self) -> float:
        """What its cosines are multiplied by to become logits."""
        return _SHARPNESS[self.kind]


MOST_SOLVED = 2
"""Whitened heads that are built without the axes of the covariance, where nothing else needs these."""
CANDIDATES = (
    Candidate("cosine"),
    Candidate("centred"),
    *(Candidate("whitened", shrinkage) for shrinkage in (0.9, 0.6, 0.3, 0.1, 0.03)),
    Candidate("own", 0.3, 1.0),
    Candidate("own", 0.1, 4.0),
    Candidate("pooled", SHRINKAGE),
    Candidate("posterior", 0.9),
    Candidate("posterior", 0.3),
)
WITHOUT_EVIDENCE = {
    Candidate("cosine"): 3.0,
    Candidate("centred"): 3.0,
    Candidate("pooled", SHRINKAGE): 3.0,
    Candidate("posterior", 0.9): 1.0,
}
"""How much heads count where no row can be left out. More of the background gains more where classes are like its, and
loses more than half a point where they are not."""


def offered(shown: Shown, prior: Prior) -> list[Candidate]:
    """Return the heads that can be built: one image a class has no covariance, and not every backbone a background."""
    is_there: dict[Kind, bool] = {
        "cosine": True,
        "centred": bool(prior.centre.any()),
        "whitened": shown.freedom > 0,
        "own": shown.freedom > 0 and OwnCovariances.pay(shown),
        "pooled": prior.within is not None,
        "posterior": prior.offers_means,
    }
    return [candidate for candidate in CANDIDATES if is_there[candidate.kind]]


@dataclass(frozen=True)
class Scores:
    """What heads say of images."""

    logits: dict[Candidate, Tensor]
    """Of each head, float32 `(B, K)`; a class without images has the lowest there is."""
    distances: Tensor
    """To the nearest class, as `Distances.measure` returns them, `(B,)`."""
    beyond_nothing: Tensor
    """The same, `(B,)`."""


@dataclass(frozen=True)
class OwnForm:
    """Own covariances, and what they read as products; see `LinearForm`."""

    covariances: OwnCovariances
    shared: LinearForm
    """Under the shared covariance, with the class means as they are: their length is not 1."""
    squares: Tensor
    """Squared lengths of these, float32 `(K,)`."""
    along: tuple[Tensor, Tensor]
    """As `OwnCovariances.linear_form` returns it."""


class ClosedForm:
    """Some heads of the same rows, built."""

    def __init__(
        self,
        shown: Shown,
        prior: Prior,
        candidates: Sequence[Candidate],
        *,
        measures: bool = True,
    ) -> None:
        """Build them.

        Args:
            shown: At least one image.
            prior: What is known of features in general.
            candidates: Of those that are `offered`.
            measures: Whether distances are asked for, too.
        """
        self.candidates = tuple(candidates)
        self.centre = prior.centre.float()
        """What all of them see features from, float32 `(W,)`."""
        self.empty = shown.counts == 0
        """Classes without images, bool `(K,)`."""
        self._has_empty = bool(self.empty.any())
        needs_distances = measures or any(c.kind == "pooled" for c in candidates)
        self.distances = Distances(shown, prior) if needs_distances else None
        """None where nothing asks for them."""
        solved = _solved(shown, candidates)
        by_axes = [
            c for c in candidates if c.kind not in ("pooled", "posterior") and c not in solved
        ]
        self._scaled = _Scaled(shown, prior.centre, by_axes) if by_axes else None
        self._whitened = {c: _Whitened(shown, prior.centre, c.shrinkage) for c in solved}
        self._posterior = {
            c: _Posterior(shown, prior, c.shrinkage) for c in candidates if c.kind == "posterior"
        }

    def scores(self, features: Tensor) -> Scores:
        """Ask all of them about features `(B, W)`."""
        x = features.float().cpu()
        assert self.distances is not None
        cosines, to_nothing = self.distances.cosines(x)
        return Scores(self._logits(x, cosines), *to_nearest(cosines, to_nothing))

    def logits(self, features: Tensor) -> dict[Candidate, Tensor]:
        """Return what `scores` does, without the distances."""
        x = features.float().cpu()
        if not any(c.kind == "pooled" for c in self.candidates):
            return self._logits(x, None)
        assert self.distances is not None
        return self._logits(x, self.distances.cosines(x)[0])

    def _logits(self, x: Tensor, cosines: Tensor | None) -> dict[Candidate, Tensor]:
        logits = self._scaled.scores(x) if self._scaled is not None else {}
        logits |= {c: head.cosines(x) for c, head in self._whitened.items()}
        logits |= {c: head.cosines(x) for c, head in self._posterior.items()}
        if cosines is not None:
            logits |= {c: cosines for c in self.candidates if c.kind == "pooled"}
        logits = {c: logits[c] * _SHARPNESS[c.kind] for c in self.candidates}
        if self._has_empty:
            lowest = torch.finfo(torch.float32).min
            logits = {c: each.masked_fill(self.empty, lowest) for c, each in logits.items()}
        return logits

    @property
    def n_products(self) -> int:
        """How many numbers of an image all heads look at, as products with its features; without those of lengths."""
        own = self._scaled.own.values() if self._scaled is not None else ()
        each = len(self.candidates) + 1 + sum(head.n_directions for head in own)
        return each * len(self.empty)

    def linear_form(self, candidate: Candidate) -> LinearForm:
        """Return the space of a head of cosines that is not `pooled`, with the directions of the class means."""
        if candidate in self._posterior:
            return self._posterior[candidate].linear_form()
        if candidate in self._whitened:
            return self._whitened[candidate].linear_form()
        assert self._scaled is not None
        return self._scaled.linear_form(candidate)

    def own_form(self, candidate: Candidate) -> OwnForm:
        """Return what own covariances read."""
        assert self._scaled is not None
        return self._scaled.own_form(candidate)


class _Scaled:
    """Class means in the axes of the covariance within classes. Of few rows those are the axes that the rows span."""

    def __init__(self, shown: Shown, centre: Tensor, candidates: Sequence[Candidate]) -> None:
        self._candidates = list(candidates)
        self._centre = centre.float()
        kinds = [c.kind for c in candidates]
        values, axes = torch.zeros(0), torch.zeros(len(centre), 0)
        if "whitened" in kinds or "own" in kinds:
            values, axes = _axes(shown)
        self._axes = axes.float()
        self._is_whole = axes.shape[1] == len(centre)
        self._invert(values, len(centre))
        means = (shown.means - centre).float()
        self._along = means @ self._axes
        self._means = None if self._is_whole else means
        self._squares = self._squared(means, self._along)
        self._offsets, self._centre_square = means @ self._centre, self._centre.square().sum()
        self._uncentred = torch.tensor([float(kind == "cosine") for kind in kinds])[:, None, None]
        shift = 2 * self._offsets + self._centre_square
        self._inverse_roots = inverse_root(self._squares + self._uncentred[:, 0] * shift)
        gaps = _Gaps(shown, self._axes)
        self.own = {
            c: OwnCovariances(
                shown,
                self._centre,
                partial(self._whitened, a),
                prior=c.prior,
                gaps=partial(self._whitened_gaps, a, gaps),
            )
            for a, c in enumerate(candidates)
            if c.kind == "own"
        }

    def _invert(self, values: Tensor, width: int) -> None:
        """Find the inverse variances of each candidate: of every direction, and what an axis has more than that."""
        shrinkages = torch.tensor([c.shrinkage for c in self._candidates])[:, None]
        is_plain = torch.tensor([c.kind in ("cosine", "centred") for c in self._candidates])
        least = (shrinkages * values.sum() / width).clamp(min=1e-12)
        inverse = 1 / ((1 - shrinkages) * values + least)
        beyond = (1 / least).masked_fill(is_plain[:, None], 1)
        inverse = inverse.masked_fill(is_plain[:, None], 1)
        self._beyond, self._more = beyond.float(), (inverse - beyond).float()
        self._roots = inverse.sqrt().float()

    def scores(self, features: Tensor) -> dict[Candidate, Tensor]:
        """Return cosines, and of own covariances log-likelihoods, each `(B, K)`, for `(B, W)`."""
        x = features - self._centre
        along = x @ self._axes
        plain = along @ self._along.T if self._means is None else x @ self._means.T
        squares = self._squared(x, along)
        # One product for all, so that the means are read once.
        more = (self._more[:, None] * along).flatten(0, 1) @ self._along.T
        dots = self._beyond[:, None] * plain + more.view(len(self._candidates), *plain.shape)
        offset = x @ self._centre
        # As seen from the origin, where the centre is none: plain cosines.
        dots += self._uncentred * (offset[:, None] + self._offsets + self._centre_square)
        mine = squares + self._uncentred[:, 0] * (2 * offset + self._centre_square)
        cosines = dots * inverse_root(mine)[:, :, None] * self._inverse_roots[:, None]
        found = dict(zip(self._candidates, cosines, strict=True))
        for candidate, own in self.own.items():
            a = self._candidates.index(candidate)
            shared = -0.5 * (mine[a][:, None] + self._squares[a] - 2 * dots[a]).clamp(min=0)
            found[candidate] = own.logits(self._whitened(a, x, along), shared)
        return found

    def linear_form(self, candidate: Candidate) -> LinearForm:
        """Return the space of a candidate with the directions of the class means."""
        a = self._candidates.index(candidate)
        form = self._metric(a)
        products, offsets, plain = form.products, form.offsets, float(self._uncentred[a])
        if plain:
            products = products + self._centre[:, None]
            offsets = self._offsets + self._centre_square
        products, offsets = products * self._inverse_roots[a], offsets * self._inverse_roots[a]
        return replace(
            form, products=products, offsets=offsets, plain=plain, centred=form.centred - plain
        )

    def own_form(self, candidate: Candidate) -> OwnForm:
        """Return what own covariances read."""
        a, own = self._candidates.index(candidate), self.own[candidate]
        along = own.linear_form(self._whitened(a, torch.eye(len(self._centre))))
        return OwnForm(own, self._metric(a), self._squares[a], along)

    def _metric(self, a: int) -> LinearForm:
        """Return the space of a candidate with the class means, all of it seen from the centre."""
        axes, beyond = self._axes.double(), float(self._beyond[a])
        more = self._more[a] + (beyond if self._means is None else 0)
        means = axes @ (more * self._along).double().T
        if self._means is not None:
            means += beyond * self._means.double().T
        return LinearForm(
            means.float(), torch.zeros(len(self._along)), self._axes, self._more[a], centred=beyond
        )

    def _squared(self, x: Tensor, along: Tensor) -> Tensor:
        """Return squared lengths `(A, N)` of `(N, W)`, whose coordinates along the axes are `(N, R)`."""
        return self._beyond * x.square().sum(dim=1) + self._more @ along.square().T

    def _whitened_gaps(self, a: int, gaps: "_Gaps", mine: Tensor) -> Tensor:
        """Return how far some rows, bool `(M,)`, are from the means of their classes, as `_whitened` does."""
        return self._whitened(a, *gaps(mine))

    def _whitened(self, a: int, x: Tensor, along: Tensor | None = None) -> Tensor:
        """Return `(N, W)` in a space in which the covariance of a candidate is the identity."""
        along = x @ self._axes if along is None else along
        if self._is_whole:
            return along * self._roots[a]
        beyond = self._beyond[a].sqrt()
        return x * beyond + (along * (self._roots[a] - beyond)) @ self._axes.T


class _Gaps:
    """How far rows are from the means of their classes, and along axes: looked at once where all fit in at once."""

    def __init__(self, shown: Shown, axes: Tensor) -> None:
        self._shown, self._axes = shown, axes
        self._all: tuple[Tensor, Tensor] | None = None

    def __call__(self, mine: Tensor) -> tuple[Tensor, Tensor]:
        """Return `(N, W)` and `(N, R)` of some rows, bool `(M,)`."""
        if self._all is not None and bool(mine.all()):
            return self._all
        gaps = gaps_of(self._shown, mine)
        found = gaps, gaps @ self._axes
        if len(gaps) == len(mine):
            self._all = found
        return found


class _Whitened:
    """Cosines to class means in the space whitened by the covariance within classes, under one shrinkage."""

    def __init__(self, shown: Shown, centre: Tensor, shrinkage: float) -> None:
        covariance = (shown.scatter / shown.freedom).float()
        sphere = float(covariance.diagonal().mean().clamp(min=1e-12))
        covariance.mul_(1 - shrinkage).diagonal().add_(shrinkage * sphere)
        self._root = torch.linalg.cholesky(covariance).T.contiguous()
        self._centre = centre.float()
        self._means = self._directions(shown.means.float())

    def cosines(self, features: Tensor) -> Tensor:
        """Return `(B, K)` for `(B, W)`."""
        return self._directions(features) @ self._means.T

    def linear_form(self) -> LinearForm:
        """Return the space with the directions of the class means."""
        return LinearForm.through(inverse_of(self._root), self._means)

    def _directions(self, features: Tensor) -> Tensor:
        x = features - self._centre
        return F.normalize(
            torch.linalg.solve_triangular(self._root, x, upper=True, left=False), dim=1
        )


class _Posterior:
    """Cosines to what class means probably are, drawn to the background's by as much as few images leave open.

    Along each direction that tells classes in general apart, the mean of n images is the less certain the less classes
    differ there: it is multiplied by `d / (d + 1 / n)`, d the variance between classes in units of that within.
    """

    def __init__(self, shown: Shown, prior: Prior, shrinkage: float) -> None:
        to_discriminants, values = prior.discriminants(shrinkage)
        means = (shown.means - prior.centre).float() @ to_discriminants
        share = values / (values + 1 / shown.counts.clamp(min=1).float()[:, None])
        self._centre, self._map = prior.centre.float(), to_discriminants
        self._means = F.normalize(means * share, dim=1)

    def cosines(self, features: Tensor) -> Tensor:
        """Return `(B, K)` for `(B, W)`."""
        return F.normalize((features - self._centre) @ self._map, dim=1) @ self._means.T

    def linear_form(self) -> LinearForm:
        """Return the space with the directions of the class means."""
        return LinearForm.through(self._map, self._means)


def _solved(shown: Shown, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the whitened heads that are built one by one: of two a Cholesky factor each costs less than the axes."""
    whitened = [c for c in candidates if c.kind == "whitened"]
    needs_axes = any(c.kind == "own" for c in candidates) or not _fills(shown)
    return [] if needs_axes or len(whitened) > MOST_SOLVED else whitened


def _fills(shown: Shown) -> bool:
    """Tell whether there are so many rows that it is the covariance that is taken apart, and not their products."""
    return 2 * len(shown.rows) > shown.means.shape[1]


def _axes(shown: Shown) -> tuple[Tensor, Tensor]:
    """Return variances within classes, float64 `(R,)`, and their axes, float64 `(W, R)`."""
    if _fills(shown):
        # The smallest are rounded; every shrinkage is far above what is lost.
        values, axes = torch.linalg.eigh((shown.scatter / shown.freedom).float())
        return values.double().clamp(min=0), axes.double()
    rows = shown.rows - shown.means[shown.targets]
    rows = rows * (shown.weights / shown.freedom).sqrt()[:, None]
    values, vectors = torch.linalg.eigh(rows @ rows.T)
    spanned = values > 1e-9 * values[-1:].clamp(min=1e-12)
    return values[spanned], rows.T @ (vectors[:, spanned] * values[spanned].rsqrt())


def inverse_root(squares: Tensor) -> Tensor:
    """Return one over lengths, of their squares; 0 has the least length there is."""
    return squares.clamp(min=1e-24).rsqrt()
