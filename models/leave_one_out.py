"""What a learner would answer had it never seen one of its images, for every image, in closed form.

All heads are built of means and of one covariance. Without an image a mean moves along the image's gap to it, and the
covariance loses the square of that gap, a matrix of rank one. So the answer follows from products with the means as
they are, and nothing is fitted again. The weights of the heads and their temperatures stay what they are: they were
found by rows left out, and one image of many hardly moves them.

Exact but for rounding, and but for two things: own covariances keep the directions that describe a class
(`models.own_left_out`), and where a class shows more images than are kept of it, one row stands for several.

Shapes: P pairs of an image asked about and one left out, K classes, W feature width, M kept rows.

Reference:
    Sherman & Morrison, 1950, https://doi.org/10.1214/aoms/1177729893.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.closed_form import Candidate
from models.evidence import Opinion
from models.novelty import SHRINKAGE, to_nearest
from models.own_covariances import OwnCovariances
from models.own_left_out import Gone, OwnLeftOut
from models.reference import Prior
from models.shown import Shown

AT_ONCE = 256
"""Pairs that are looked at in one go."""


@dataclass(frozen=True)
class _Pairs:
    """Images asked about and what is left out for each, as the heads see them; float64."""

    asked: Tensor
    """`(P, W)`"""
    gaps: Tensor
    """Of what is left out to the mean of its class, `(P, W)`."""
    classes: Tensor
    """Of what is left out, int64 `(P,)`."""
    counts: Tensor
    """Images of these classes, `(P,)`."""
    back: Tensor
    """How far the mean moves away from what is left out, in gaps, `(P,)`."""
    lost: Tensor
    """How much of the square of the gap the scatter loses, `(P,)`."""

    def turned(self, axes: Tensor) -> "_Pairs":
        """Return them along axes, `(W, W)`."""
        return replace(self, asked=self.asked @ axes, gaps=self.gaps @ axes)


class LeaveOneOut:
    """The heads of a learner, each time without one image."""

    def __init__(self, shown: Shown, prior: Prior, opinions: Sequence[Opinion]) -> None:
        """Take the heads apart.

        Args:
            shown: At least one image.
            prior: What is known of features in general.
            opinions: The heads that count.
        """
        self._shown, self._opinions = shown, tuple(opinions)
        self._centre = prior.centre
        self._heads = {o.candidate: _head_of(shown, prior, o.candidate) for o in opinions}
        self._empty = shown.counts == 0
        self._near = _near(shown, prior)

    def look(self) -> tuple[Tensor, Tensor]:
        """Look at every row without itself.

        Returns:
            Probabilities, float64 `(M, K)`, and distances to the nearest class as novelty measures them, `(M,)`.
        """
        rows = torch.arange(len(self._shown.rows))
        distances = [
            self._distances(self._pairs(part, self._shown.rows[part]))
            for part in rows.split(AT_ONCE)
        ]
        return self.answers(rows), torch.cat(distances or [torch.zeros(0)])

    def _distances(self, pairs: _Pairs) -> Tensor:
        cosines = self._masked(self._near.logits(pairs), pairs, -1.0)
        return to_nearest(cosines, cosines.new_full((len(cosines),), -1.0))[0]

    def answers(self, left_out: Tensor, asked: Tensor | None = None) -> Tensor:
        """Return probabilities without an image, float64 `(P, K)`.

        Args:
            left_out: Which rows are left out, one for each answer, int64 `(P,)`.
            asked: Features of the images asked about, `(P, W)`; None for those that are left out themselves.
        """
        parts = [
            self._answers(rows, self._shown.rows[rows] if asked is None else asked[start:end])
            for start in range(0, len(left_out), AT_ONCE)
            for end in [start + AT_ONCE]
            for rows in [left_out[start:end]]
        ]
        return torch.cat(parts or [torch.zeros(0, len(self._empty), dtype=torch.float64)])

    def _answers(self, rows: Tensor, asked: Tensor) -> Tensor:
        pairs = self._pairs(rows, asked.double().cpu())
        weights = torch.tensor([o.weight for o in self._opinions], dtype=torch.float64)
        return torch.einsum("h,hpk->pk", weights, torch.softmax(self._logits(pairs), dim=2))

    def _logits(self, pairs: _Pairs) -> Tensor:
        """Return what each head says at its temperature, `(H, P, K)`."""
        found = []
        for opinion in self._opinions:
            logits = self._heads[opinion.candidate].logits(pairs)
            logits = logits * (opinion.candidate.sharpness / opinion.temperature)
            found.append(self._masked(logits, pairs, torch.finfo(torch.float32).min))
        return torch.stack(found)

    def _masked(self, logits: Tensor, pairs: _Pairs, lowest: float) -> Tensor:
        """Return logits with those of classes without images, `(P, K)`, as low as can be."""
        logits = logits.masked_fill(self._empty, lowest)
        alone = (pairs.counts <= 1).nonzero().squeeze(1)
        logits[alone, pairs.classes[alone]] = lowest
        return logits

    def mended(self, row: int, rivals: Tensor) -> Tensor:
        """Return which images have to go, besides a row itself, for that row to be answered rightly, bool `(R,)`.

        What covariances lose with the second image is not looked at, and own covariances stay as they are.

        Args:
            row: One that is answered wrongly without itself.
            rivals: Rows of one class, int64 `(R,)`, without `row`.
        """
        pairs = self._pairs(torch.tensor([row]), self._shown.rows[row : row + 1])
        logits = self._logits(pairs)[:, 0]
        target, k = int(pairs.classes[0]), int(self._shown.targets[rivals[0]])
        counts = float(self._shown.counts[k]) - (k == target)
        if counts < 2:
            return torch.zeros(len(rivals), dtype=torch.bool)
        start = -pairs.gaps[0] * pairs.back[0] * (k == target)
        gaps = self._shown.rows[rivals] - self._shown.means[k] - start
        changes = torch.stack(
            [
                self._heads[o.candidate].moved(pairs.asked[0], k, start, gaps, counts)
                * (o.candidate.sharpness / o.temperature)
                for o in self._opinions
            ]
        )
        raised = (logits - logits.amax(dim=1, keepdim=True)).exp()
        new = raised[:, k, None] * changes.exp()
        totals = raised.sum(dim=1)[:, None] - raised[:, k, None] + new
        weights = torch.tensor([o.weight for o in self._opinions], dtype=torch.float64)
        shares = weights[:, None] / totals
        answers = shares.T @ raised
        answers[:, k] = (shares * new).sum(dim=0)
        found: Tensor = answers.argmax(dim=1) == target
        return found

    def _pairs(self, rows: Tensor, asked: Tensor) -> _Pairs:
        shown = self._shown
        classes = shown.targets[rows]
        counts, weights = shown.counts[classes], shown.weights[rows]
        rest = (counts - 1).clamp(min=1)
        lost = weights + 2 * weights / rest - (counts - weights) / rest.square()
        is_alone = counts <= 1
        gaps = shown.rows[rows] - shown.means[classes]
        return _Pairs(
            asked,
            gaps,
            classes,
            counts,
            (1 / rest).masked_fill(is_alone, 0),
            lost.masked_fill(is_alone, 0),
        )


class _Cosines:
    """Cosines to class means under a metric that loses what is left out; the metric is diagonal along its axes."""

    def __init__(
        self,
        means: Tensor,
        centre: Tensor,
        axes: Tensor | None = None,
        variances: Tensor | None = None,
        shrinkage: float = 1.0,
    ) -> None:
        self._axes, self._centre, self._shrinkage = axes, centre, shrinkage
        self._means = means - centre if axes is None else (means - centre) @ axes
        self._squares = self._means.square()
        self._variances = variances

    def logits(self, pairs: _Pairs) -> Tensor:
        x = replace(pairs, asked=pairs.asked - self._centre)
        x = x if self._axes is None else x.turned(self._axes)
        asked, gaps, means = x.asked, x.gaps, self._means
        mine = torch.arange(len(asked)), x.classes
        if self._variances is None:
            to_asked, to_gaps = asked, gaps
            lengths = self._squares.sum(dim=1).expand(len(asked), -1).clone()
            lost = torch.zeros(len(asked), 1, dtype=torch.float64)
        else:
            share, W = self._shrinkage, gaps.shape[1]
            sphere = x.lost * share * gaps.square().sum(dim=1) / W
            inverse = 1 / (self._variances - sphere[:, None]).clamp(min=1e-12)
            to_asked, to_gaps = asked * inverse, gaps * inverse
            lengths = inverse @ self._squares.T
            lost = (x.lost * (1 - share))[:, None]
        products, along = to_asked @ means.T, to_gaps @ means.T
        gap_square = (to_gaps * gaps).sum(dim=1, keepdim=True)
        across = (to_gaps * asked).sum(dim=1, keepdim=True)
        own_square = (to_asked * asked).sum(dim=1, keepdim=True)
        bend = lost / (1 - lost * gap_square).clamp(min=1e-9)
        products = products + bend * across * along
        lengths = lengths + bend * along.square()
        own_square = own_square + bend * across.square()
        # The mean of its class moves.
        grown = (1 + bend * gap_square)[:, 0]
        back = x.back
        lengths[mine] += -2 * back * along[mine] * grown + back.square() * gap_square[:, 0] * grown
        products[mine] -= back * across[:, 0] * grown
        return products * (own_square * lengths).clamp(min=1e-24).rsqrt()

    def moved(self, asked: Tensor, k: int, start: Tensor, gaps: Tensor, count: float) -> Tensor:
        """Return by how much the cosine to a class changes as each of some images leaves it, `(R,)`.

        Args:
            asked: The image asked about, `(W,)`.
            k: The class.
            start: How far its mean is from where it is with all images, `(W,)`.
            gaps: Of those images to that mean, `(R, W)`.
            count: Images of the class so far, at least two.
        """
        x = asked - self._centre
        if self._axes is not None:
            x, start, gaps = x @ self._axes, start @ self._axes, gaps @ self._axes
        mean = self._means[k] + start
        scale = torch.ones_like(x) if self._variances is None else self._variances.rsqrt()
        return _change(x * scale, mean * scale, (mean - gaps / (count - 1)) * scale)


class _Drawn:
    """Cosines to means that are drawn to the background's, as `closed_form` builds them."""

    def __init__(self, shown: Shown, prior: Prior, shrinkage: float) -> None:
        to_discriminants, values = prior.discriminants(shrinkage)
        self._map, self._values = to_discriminants.double(), values.double()
        self._centre = prior.centre
        self._plain = (shown.means - prior.centre) @ self._map
        share = self._values / (self._values + 1 / shown.counts.clamp(min=1)[:, None])
        self._means = torch.nn.functional.normalize(self._plain * share, dim=1)

    def logits(self, pairs: _Pairs) -> Tensor:
        asked = torch.nn.functional.normalize((pairs.asked - self._centre) @ self._map, dim=1)
        found = asked @ self._means.T
        moved = self._plain[pairs.classes] - (pairs.gaps @ self._map) * pairs.back[:, None]
        share = self._values / (self._values + 1 / (pairs.counts - 1).clamp(min=1)[:, None])
        moved = torch.nn.functional.normalize(moved * share, dim=1)
        found[torch.arange(len(asked)), pairs.classes] = (asked * moved).sum(dim=1)
        return found

    def moved(self, asked: Tensor, k: int, start: Tensor, gaps: Tensor, count: float) -> Tensor:
        """Return what `_Cosines.moved` does."""
        mean = self._plain[k] + start @ self._map
        after = mean - (gaps @ self._map) / (count - 1)
        before = mean * self._values / (self._values + 1 / count)
        after = after * self._values / (self._values + 1 / (count - 1))
        return _change((asked - self._centre) @ self._map, before, after)


class _Own:
    """Own covariances in the space whitened by the shared one."""

    def __init__(self, shown: Shown, prior: Prior, candidate: Candidate) -> None:
        axes, variances = _metric(shown.scatter, candidate.shrinkage)
        self._centre = prior.centre
        self._to_space = axes * (shown.freedom / variances).sqrt()
        self._kept = 1 - candidate.shrinkage
        self._freedom = shown.freedom

        def whiten(x: Tensor) -> Tensor:
            return (x.double() @ self._to_space).float()

        covariances = OwnCovariances(shown, prior.centre.float(), whiten, prior=candidate.prior)
        self._left_out = OwnLeftOut(covariances, prior=candidate.prior)

    def logits(self, pairs: _Pairs) -> Tensor:
        gone = Gone(
            (pairs.gaps @ self._to_space).float(),
            pairs.classes,
            pairs.counts.float(),
            (pairs.lost * self._kept / self._freedom).float(),
        )
        asked = ((pairs.asked - self._centre) @ self._to_space).float()
        return self._left_out.logits(asked, gone).double()

    def moved(self, asked: Tensor, k: int, start: Tensor, gaps: Tensor, count: float) -> Tensor:
        """Return that nothing changes."""
        return torch.zeros(len(gaps), dtype=torch.float64)


_Head = _Cosines | _Drawn | _Own


def _head_of(shown: Shown, prior: Prior, candidate: Candidate) -> _Head:
    if candidate.kind == "own":
        return _Own(shown, prior, candidate)
    if candidate.kind == "posterior":
        return _Drawn(shown, prior, candidate.shrinkage)
    if candidate.kind == "cosine":
        return _Cosines(shown.means, torch.zeros_like(prior.centre))
    if candidate.kind == "centred":
        return _Cosines(shown.means, prior.centre)
    if candidate.kind == "pooled":
        return _near(shown, prior)
    shrinkage = candidate.shrinkage
    return _Cosines(shown.means, prior.centre, *_metric(shown.scatter, shrinkage), shrinkage)


def _near(shown: Shown, prior: Prior) -> _Cosines:
    """Return the cosines that novelty is told by."""
    scatter = shown.scatter
    if prior.within is not None:
        scatter = scatter + len(prior.centre) * prior.within.double()
    return _Cosines(shown.means, prior.centre, *_metric(scatter, SHRINKAGE), SHRINKAGE)


def _change(asked: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Return by how much the cosine of an image `(W,)` grows from one mean `(W,)` to each of others `(R, W)`."""
    x = torch.nn.functional.normalize(asked, dim=0)
    there, then = (torch.nn.functional.normalize(each, dim=-1) for each in (before, after))
    return then @ x - there @ x


def _metric(scatter: Tensor, shrinkage: float) -> tuple[Tensor, Tensor]:
    """Return the axes of a scatter `(W, W)` and what it is along each once it is shrunk, `(W,)`."""
    values, axes = torch.linalg.eigh(scatter)
    values = values.clamp(min=0)
    return axes, ((1 - shrinkage) * values + shrinkage * values.mean()).clamp(min=1e-12)
