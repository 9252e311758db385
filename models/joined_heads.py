"""The heads of not too many classes joined into one product: the answers of `EvidenceHead` but for rounding, sooner.

What the answer to a few images takes is less arithmetic than steps: Python starts each, and some wake all threads of
PyTorch, for which they wait as long as a busy machine lets them. So what all heads multiply features with are columns
of one matrix, and of one image no step is shared out among threads. Learning stays with the heads one by one.

Shapes: B images, K classes, W feature width, H heads that are cosines, G of own covariances, R directions a class, P
pictures of nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.closed_form import Candidate, inverse_root
from models.evidence import Answer, EvidenceHead, Opinion
from models.linear_form import LinearForm
from models.novelty import SHRINKAGE, to_nearest
from models.own_covariances import OwnCovariances

MOST_PRODUCTS = 2048
"""Columns of the matrix that classes may take. Of more, reading them takes as long as the steps that they spare."""


def joined(head: EvidenceHead) -> "EvidenceHead | JoinedHeads":
    """Return what answers as the head does: the head itself where it has too many classes."""
    return JoinedHeads(head) if head.heads.n_products <= MOST_PRODUCTS else head


class JoinedHeads:
    """The heads that count, as one product."""

    def __init__(self, head: EvidenceHead) -> None:
        """Build the matrix. Of the head itself only own covariances are kept."""
        heads, K = head.heads, len(head.heads.empty)
        near = None if heads.distances is None else heads.distances.linear_form()
        cosines = _cosines(head.opinions, measures=near is not None)
        own = [o for o in head.opinions if o.candidate.kind == "own"]
        own_forms = [heads.own_form(o.candidate) for o in own]
        forms = [
            heads.linear_form(o.candidate) if near is None or o is not cosines[-1] else near
            for o in cosines
        ]
        factors = [o.candidate.sharpness / o.temperature for o in cosines]
        self._centre, self._empty = heads.centre, heads.empty if heads.empty.any() else None
        self._shape, self._factors = (len(forms), K), factors
        self._opinions = (*cosines, *own)
        self._weights = torch.tensor([o.weight for o in self._opinions])
        self._own = [
            _Own(form.covariances, form.squares, o.temperature)
            for form, o in zip(own_forms, own, strict=True)
        ]
        parts = [
            *(
                (f.products[:, :K] * s, f.offsets[:K] * s)
                for f, s in zip(forms, factors, strict=True)
            ),
            *([] if near is None else [(near.products[:, K:], near.offsets[K:])]),
            *((form.shared.products, form.shared.offsets) for form in own_forms),
            *(form.along for form in own_forms),
        ]
        coordinates, self._lengths = _lengths([*forms, *(form.shared for form in own_forms)])
        parts.append((coordinates, torch.zeros(coordinates.shape[1])))
        self._matrix = torch.cat([products for products, _ in parts], dim=1)
        self._offsets = torch.cat([offsets for _, offsets in parts])
        sizes = [len(offsets) for _, offsets in parts[len(forms) :]]
        self._sizes = [len(forms) * K, *([0] if near is None else []), *sizes]

    def answer(self, features: Tensor) -> Answer:
        """Look at features `(B, W)`. Only of heads that measure."""
        logits, inverse, nothing = self._look(features)
        last = self._shape[0] - 1
        cosines = logits[:, last] / self._factors[last]
        to_nothing = cosines.new_full((len(cosines),), -1.0)
        if self._sizes[1]:
            to_nothing = nothing.amax(dim=1) * inverse[:, last]
        return Answer(_mixed(logits, self._weights), *to_nearest(cosines, to_nothing))

    def probabilities(self, features: Tensor) -> Tensor:
        """Return calibrated probabilities `(B, K)`, float32, of features `(B, W)`."""
        return _mixed(self._look(features)[0], self._weights)

    def each(self, features: Tensor) -> list[tuple[Opinion, Tensor]]:
        """Return the probabilities `(B, K)` that each head alone gives features `(B, W)`, with how much it counts."""
        found = torch.softmax(self._look(features)[0], dim=2).unbind(dim=1)
        pairs = zip(self._opinions, found, strict=True)
        return [(opinion, mine) for opinion, mine in pairs if opinion.weight > 0]

    def _look(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Look at features `(B, W)`.

        Returns:
            Logits at their temperatures, `(B, H + G, K)`; one over the lengths of the images, `(B, H)`; and products
            with pictures of nothing, not over these, `(B, P)`.
        """
        plain = features.float().cpu()
        x = plain - self._centre
        parts = torch.addmm(self._offsets, x, self._matrix).split(self._sizes, dim=1)
        products, nothing, own, coordinates = parts[0], parts[1], parts[2:-1], parts[-1]
        squares = torch.cat([plain, x, coordinates], dim=1).square() @ self._lengths
        H, _ = self._shape
        inverse = inverse_root(squares[:, :H])
        logits = products.unflatten(1, self._shape) * inverse[:, :, None]
        if own:
            logits = torch.cat([logits, self._own_logits(own, squares[:, H:])], dim=1)
        if self._empty is not None:
            logits = logits.masked_fill(self._empty, torch.finfo(torch.float32).min)
        return logits, inverse, nothing

    def _own_logits(self, parts: Sequence[Tensor], squares: Tensor) -> Tensor:
        """Return logits of own covariances, `(B, G, K)`.

        Args:
            parts: Products with the class means, G times `(B, K)`, and along all directions, G times `(B, K R)`.
            squares: Of the images' lengths, `(B, G)`.
        """
        found = []
        for g, own in enumerate(self._own):
            gaps = squares[:, g, None] + own.squares - 2 * parts[g]
            shape = len(own.squares), own.covariances.n_directions
            along = parts[len(self._own) + g].unflatten(1, shape)
            logits = own.covariances.logits_along(along, -0.5 * gaps.clamp(min=0))
            found.append(logits / own.temperature)
        return torch.stack(found, dim=1)


@dataclass(frozen=True)
class _Own:
    """Own covariances of all classes, as one head."""

    covariances: OwnCovariances
    squares: Tensor
    """Squared lengths of class means, `(K,)`."""
    temperature: float


def _cosines(opinions: Sequence[Opinion], *, measures: bool) -> list[Opinion]:
    """Return opinions of heads that are cosines. Where novelty is measured its space is the last of them."""
    pooled = [o for o in opinions if o.candidate.kind == "pooled"]
    if measures and not pooled:
        pooled = [Opinion(Candidate("pooled", SHRINKAGE), 0.0, 1.0, None)]
    return [*(o for o in opinions if o.candidate.kind not in ("pooled", "own")), *pooled]


def _lengths(forms: Sequence[LinearForm]) -> tuple[Tensor, Tensor]:
    """Return coordinates of all spaces, each once, `(W, J)`, and how squares add up to squared lengths, `(2 W + J, H)`.

    The squares are of features, of features less the centre, and of the coordinates.
    """
    spaces = {id(form.coordinates): form.coordinates for form in forms}
    coordinates = torch.cat(list(spaces.values()), dim=1)
    columns = []
    for form in forms:
        width = len(form.coordinates)
        mine = [torch.full((width,), form.plain), torch.full((width,), form.centred)]
        for key, space in spaces.items():
            is_mine = key == id(form.coordinates)
            mine.append(form.weights if is_mine else torch.zeros(space.shape[1]))
        columns.append(torch.cat(mine))
    return coordinates, torch.stack(columns, dim=1)


def _mixed(logits: Tensor, weights: Tensor) -> Tensor:
    """Return the mean of the softmax of logits `(B, H, K)` by weights `(H,)`: `(B, K)`.

    In plain steps, as `torch.softmax` asks several threads for each few rows.
    """
    raised = (logits - logits.amax(dim=2, keepdim=True)).exp()
    shares = weights / raised.sum(dim=2)
    return (raised * shares[:, :, None]).sum(dim=1)
