"""Is something wrong with a batch of labelled images? Asked of the frozen backbone before they are learned.

Every image is judged by a ridge regression that has not seen it. Four things are looked for: labels that have no more
to do with the images than chance; a share of labels that look drawn by lot; two labels for what looks like one class;
and copies of images under another label. What an honest batch of hard classes may look like too is not reported: each
finding comes from the favourable end of a confidence interval, so few images prove nothing.

Shapes: N images of the batch, M of reference classes, C classes together, D feature width.

Reference:
    Northcutt et al., 2021, https://arxiv.org/abs/1911.00068 (labels judged by predictions out of sample); Goldberger
    and Ben-Reuven, 2017, https://openreview.net/forum?id=H12GRgcxg (a layer for noise: here two numbers, fitted by
    maximum likelihood); Lopez-Paz and Oquab, 2017, https://arxiv.org/abs/1610.06545 (two samples told apart by a
    classifier).
    Thresholds: `python -m benchmarks.poisoning`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from models.copies import find_twins

MIN_IMAGES = 20
"""Images in a batch below which nothing is said of its labels."""
RIDGE = 2.0
"""Ridge, as a multiple of the mean squared length of a centred feature. 1 and 5 tell classes of CIFAR-100 apart about
as well."""
CHANCE_BOUND = 0.12
"""Agreement above chance, in `[0, 1]`, that even the hardest honest batch reaches: five classes of people of CIFAR-100,
20 images each, on the bundled backbone, reach 0.17 on average."""
CHANCE_DEVIATIONS = 2.0
MAX_CHANCE_DEVIATION = 0.08
"""Nothing is said of the labels as a whole where chance alone deviates by more: with five classes of 8 images, say."""
NOISE_EVIDENCE = 9.0
"""Twice the log-likelihood by which a share of random labels must fit better than a smaller one: three deviations."""
MIN_NOISE, LEAST_NOISE = 0.14, 0.02
"""Share of labels that look random from which a batch is held: the estimate, and its lower bound."""
CLASS_NOISE, MIN_CLASS_IMAGES = 0.45, 15
"""Lower bound of the share of a single class that belongs elsewhere, from which it is held, and images it needs. Honest
classes of 20 images reach 0.38, with all their siblings about."""
ALIKE_BOUND = 0.25
"""Agreement above chance between two classes, below which they look like one. The hardest pairs of CIFAR-100, of 100
images each, reach 0.25 (man and boy) and 0.35."""
ALIKE_DEVIATIONS = 1.5
MAX_ALIKE_DEVIATION = 0.11
"""Nothing is said of a pair of fewer images than give this standard deviation: some 42 each, or 32 and 60."""
KNOWN_IMAGES, MIN_KNOWN_CLASSES = 60, 8
"""Images a known class to compare with, and so many classes at least, however small the batch."""
SUSPECT_CONFUSION = 0.25
"""Share of two classes' images taken for the other, from which the pair is looked at."""
MIN_COPIES, COPIED_SHARE = 5, 0.2
"""Copies in a class under another label, and their share in it, from which the batch is held."""
FLOOD_RATIO = 10
"""How many times the images of the middle class one class may have before it is mentioned. Never held for that."""
SUSPECT_SHARE = 0.05
"""Share of a class's images that the learner takes for a known class, from which that class is compared with it."""

_TEMPERATURES = torch.logspace(-2.5, 0.5, 25, dtype=torch.float64)
_NOISES = torch.linspace(0, 0.98, 50, dtype=torch.float64)


@dataclass(frozen=True)
class Finding:
    """Something that looks wrong with a batch, or with what it did."""

    code: str
    detail: str
    """One sentence for a person who decides."""
    holds: bool
    """Whether it is reason enough to hold the task; else it is only mentioned."""
    classes: list[str]
    """The batch's labels it is about; empty where it is about all."""
    numbers: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """Return it as it is stored."""
        return asdict(self)


@dataclass(frozen=True)
class LabelledFeatures:
    """Images of one side: the batch, or classes that are known already."""

    features: Tensor
    """Of the frozen backbone, `(N, D)`."""
    labels: tuple[str, ...]
    """Length N."""
    thumbnails: Tensor | None = None
    """Of the images, as `models.copies.thumbnails` makes them; without them no copies are looked for."""


def screen(batch: LabelledFeatures, known: LabelledFeatures | None = None) -> list[Finding]:
    """Look for what is wrong with a batch.

    Deterministic. Takes `O(N D^2 + D^3)`, and `O(N (N + M))` for the copies.

    Args:
        batch: What is to be learned.
        known: Images of classes learned before that the batch's may resemble. Their labels are taken as right. A label
            that the batch has too is left out: more of a class should look like it.

    Returns:
        Findings, those that hold first.
    """
    mine = set(batch.labels)
    if known is not None:
        known = _only(known, [label not in mine for label in known.labels])
    findings = [*_find_copies(batch, known), *_find_flood(batch)]
    if len(batch.labels) >= MIN_IMAGES and batch.features.isfinite().all():
        findings += _find_wrong_labels(batch, known)
    return sorted(findings, key=lambda finding: not finding.holds)


@dataclass(frozen=True)
class _Judged:
    """What images look like to a regression that has not seen them."""

    scores: Tensor
    """`(N + M, C)`: of each class, relative to what its share of the images gives it."""
    targets: Tensor
    """int64 `(N + M,)`."""
    classes: tuple[str, ...]
    n_mine: int
    """N: the batch's images come first."""
    n_own_classes: int
    """Classes of the batch, which come first."""


def judge(features: Tensor, targets: Tensor, n_classes: int) -> Tensor:
    """Score every image by a ridge regression on all the others, in closed form.

    Args:
        features: `(N, D)`, any dtype.
        targets: int64 `(N,)`, below `n_classes`; each class has an image.
        n_classes: C.

    Returns:
        Float64 `(N, C)`: regression on one-hot targets, divided by each class's share, so that 1 is chance.

    Reference:
        The hat matrix gives all leave-one-out predictions at once: Allen, 1974, https://doi.org/10.2307/1267500.
    """
    x = F.normalize(features.detach().cpu().double(), dim=1)
    x = x - x.mean(dim=0)
    gram = x.T @ x
    ridge = RIDGE * gram.diagonal().sum() / len(x) + 1e-12
    root = torch.linalg.cholesky(gram + ridge * torch.eye(len(gram), dtype=torch.float64))
    half = torch.linalg.solve_triangular(root, x.T, upper=False)
    leverage = (half.square().sum(dim=0) + 1 / len(x)).clamp(max=1 - 1e-6)[:, None]
    hot = F.one_hot(targets, n_classes).double()
    share = hot.mean(dim=0)
    fitted = half.T @ (half @ (hot - share)) + share
    scores: Tensor = (fitted - leverage * hot) / (1 - leverage) / share.clamp(min=1e-12)
    return scores


@dataclass(frozen=True)
class Noise:
    """How many labels look drawn by lot."""

    share: float
    """The most likely share."""
    at_least: float
    """The least share that is not contradicted."""


def estimate_noise(scores: Tensor, targets: Tensor) -> Noise:
    """Estimate which share of the labels was drawn by lot.

    A hard class spreads its mistakes over what it resembles; a wrong label is a confident mistake. So two numbers are
    fitted together: a temperature, for how much scores mean, and a floor, for labels that scores say nothing of.

    Args:
        scores: Out of sample, `(N, C)`.
        targets: int64 `(N,)`.
    """
    n_classes = scores.shape[1]
    likelihood = torch.stack(
        [
            torch.softmax(scores / (t * n_classes), dim=1).gather(1, targets[:, None]).squeeze(1)
            for t in _TEMPERATURES
        ]
    )
    return _most_likely(
        ((1 - e) * likelihood + e / n_classes).clamp(min=1e-12).log().sum(dim=1).max()
        for e in _NOISES
    )


def _most_likely(log_likelihoods: Iterable[Tensor]) -> Noise:
    """Return the best of `_NOISES`, and the least that is not much worse."""
    profile = torch.stack(list(log_likelihoods))
    close = 2 * (profile.max() - profile) <= NOISE_EVIDENCE
    return Noise(float(_NOISES[profile.argmax()]), float(_NOISES[close.nonzero()[0, 0]]))


def _temperature(judged: _Judged) -> float:
    """Return the temperature at which the scores of all images fit their labels best."""
    scales: list[float] = (_TEMPERATURES * len(judged.classes)).tolist()
    losses = [float(F.cross_entropy(judged.scores / scale, judged.targets)) for scale in scales]
    return min(zip(losses, scales, strict=True))[1]


def agreement(scores: Tensor, targets: Tensor) -> tuple[float, float]:
    """Return how far labels agree with scores above chance, and the standard deviation of chance.

    All classes count the same: 0 is chance, 1 is always.

    Args:
        scores: Out of sample, `(N, C)`.
        targets: int64 `(N,)`; each of the C classes has an image.
    """
    n_classes = scores.shape[1]
    counts = torch.bincount(targets, minlength=n_classes).double()
    right = torch.bincount(targets[scores.argmax(dim=1) == targets], minlength=n_classes)
    chance = 1 / n_classes
    above = (float((right / counts).mean()) - chance) / (1 - chance)
    variance = chance * (1 - chance) * float((1 / counts).sum()) / n_classes**2
    return above, math.sqrt(variance) / (1 - chance)


def _find_wrong_labels(batch: LabelledFeatures, known: LabelledFeatures | None) -> list[Finding]:
    judged = _judge_all(batch, known)
    if len(judged.classes) < 2:
        return []
    alike = _find_alike(batch, known, judged)
    findings = _find_disagreement(judged)
    if not findings:
        explained = {label for finding in alike if finding.holds for label in finding.classes}
        findings = _find_wrong_classes(judged, explained)
    return [*findings, *alike]


def _judge_all(batch: LabelledFeatures, known: LabelledFeatures | None) -> _Judged:
    own = tuple(dict.fromkeys(batch.labels))
    others = () if known is None else tuple(dict.fromkeys(known.labels))
    classes = own + others
    index = {label: k for k, label in enumerate(classes)}
    features, labels = batch.features.cpu(), batch.labels
    if known is not None:
        features, labels = torch.cat([features, known.features.cpu()]), labels + known.labels
    targets = torch.tensor([index[label] for label in labels])
    scores = judge(features, targets, len(classes)) if len(classes) > 1 else torch.ones(0, 1)
    return _Judged(scores, targets, classes, len(batch.labels), len(own))


def _find_disagreement(judged: _Judged) -> list[Finding]:
    """Look at the labels of the batch as a whole, among the batch's own classes."""
    n, C = judged.n_mine, judged.n_own_classes
    if C < 2:
        return []
    scores, targets = judged.scores[:n, :C], judged.targets[:n]
    above, deviation = agreement(scores, targets)
    numbers = {"agreement": round(above, 3), "chance_deviation": round(deviation, 3)}
    is_chance = above + CHANCE_DEVIATIONS * deviation < CHANCE_BOUND
    if is_chance and deviation <= MAX_CHANCE_DEVIATION:
        return [
            Finding(
                "labels-disagree",
                "The labels have no more to do with the images than labels drawn by lot.",
                True,
                [],
                numbers,
            )
        ]
    noise = estimate_noise(scores, targets)
    if noise.share >= MIN_NOISE and noise.at_least >= LEAST_NOISE:
        numbers |= {"share": round(noise.share, 2), "share_at_least": round(noise.at_least, 2)}
        detail = f"About {noise.share:.0%} of the labels look drawn by lot: the images clearly belong to other classes."
        return [Finding("labels-disagree", detail, True, [], numbers)]
    return []


def _find_wrong_classes(judged: _Judged, explained: set[str]) -> list[Finding]:
    """Look at each class of the batch by itself: most of it may belong to others, of the batch or known."""
    findings = []
    n_classes = len(judged.classes)
    probabilities = torch.softmax(judged.scores / _temperature(judged), dim=1)
    for k, label in enumerate(judged.classes[: judged.n_own_classes]):
        mine = probabilities[: judged.n_mine][judged.targets[: judged.n_mine] == k, k]
        if label in explained or len(mine) < MIN_CLASS_IMAGES:
            continue
        noise = _most_likely(
            ((1 - e) * mine + e * (1 - mine) / (n_classes - 1)).clamp(min=1e-12).log().sum()
            for e in _NOISES
        )
        if noise.at_least >= CLASS_NOISE:
            numbers = {"share": round(noise.share, 2), "share_at_least": round(noise.at_least, 2)}
            detail = f"Most images of {label} clearly belong to other classes."
            findings.append(Finding("labels-disagree", detail, True, [label], numbers))
    return findings


def _find_alike(
    batch: LabelledFeatures, known: LabelledFeatures | None, judged: _Judged
) -> list[Finding]:
    """Look for two labels of what looks like one class, at least one of them in the batch."""
    C, own = len(judged.classes), judged.n_own_classes
    counts = torch.bincount(judged.targets, minlength=C).double()
    answers = judged.scores.argmax(dim=1)
    confusion = torch.bincount(judged.targets * C + answers, minlength=C * C).view(C, C).double()
    mixed = (confusion + confusion.T) / (counts[:, None] + counts[None, :])
    features = batch.features.cpu()
    if known is not None:
        features = torch.cat([features, known.features.cpu()])
    findings = []
    for a in range(own):
        for b in range(a + 1, C):
            deviation = 0.5 * math.sqrt(float(1 / counts[a] + 1 / counts[b]))
            if mixed[a, b] < SUSPECT_CONFUSION or deviation > MAX_ALIKE_DEVIATION:
                continue
            rows = ((judged.targets == a) | (judged.targets == b)).nonzero().squeeze(1)
            targets = (judged.targets[rows] == b).long()
            above, deviation = agreement(judge(features[rows], targets, 2), targets)
            if above + ALIKE_DEVIATIONS * deviation < ALIKE_BOUND:
                findings.append(_alike(judged, a, b, above, deviation))
    return findings


def _alike(judged: _Judged, a: int, b: int, above: float, deviation: float) -> Finding:
    first, second = judged.classes[a], judged.classes[b]
    numbers = {"agreement": round(above, 3), "chance_deviation": round(deviation, 3)}
    if b < judged.n_own_classes:
        detail = f"The images of {first} and {second} cannot be told apart."
        return Finding("classes-alike", detail, True, [first, second], numbers)
    detail = f"The images of {first} cannot be told from those of {second}, which is known already."
    return Finding("resembles-known", detail, True, [first], numbers)


def _find_copies(batch: LabelledFeatures, known: LabelledFeatures | None) -> list[Finding]:
    """Look for images of the batch that are also there under another label, re-encoded, resized or mirrored."""
    if batch.thumbnails is None:
        return []
    labels, images = batch.labels, batch.thumbnails
    everything = images
    if known is not None and known.thumbnails is not None:
        labels, everything = labels + known.labels, torch.cat([images, known.thumbnails])
    index = {label: k for k, label in enumerate(dict.fromkeys(labels))}
    classes, targets = list(index), torch.tensor([index[label] for label in labels])
    twins = find_twins(images, everything, targets)
    findings = []
    for k in range(len(set(batch.labels))):
        mine = targets[: len(images)] == k
        copies = twins[mine & (twins >= 0)]
        if len(copies) == 0:
            continue
        share, other = len(copies) / int(mine.sum()), classes[int(copies.mode().values)]
        detail = f"{len(copies)} images of {classes[k]} are also there under another label, most as {other}."
        holds = len(copies) >= MIN_COPIES and share >= COPIED_SHARE
        numbers = {"copies": float(len(copies)), "share": round(share, 3)}
        findings.append(Finding("copies", detail, holds, [classes[k]], numbers))
    return findings


def _find_flood(batch: LabelledFeatures) -> list[Finding]:
    """Mention a class with far more images than the others. Honest batches are unequal too, so it holds nothing."""
    index = {label: k for k, label in enumerate(dict.fromkeys(batch.labels))}
    counts = torch.bincount(
        torch.tensor([index[label] for label in batch.labels], dtype=torch.int64)
    )
    if len(counts) < 2:
        return []
    most = int(counts.argmax())
    ratio = float(counts[most]) / float(counts.float().median())
    if ratio < FLOOD_RATIO:
        return []
    label = list(index)[most]
    detail = f"{label} has {ratio:.0f} times the images of the middle class of this batch."
    numbers = {"images": float(counts[most]), "share": round(float(counts[most] / counts.sum()), 3)}
    return [Finding("flooded", detail, False, [label], numbers)]


def _only(known: LabelledFeatures, keep: Sequence[bool]) -> LabelledFeatures | None:
    rows = torch.tensor(keep, dtype=torch.bool)
    if not rows.any():
        return None
    labels = tuple(label for label, kept in zip(known.labels, keep, strict=True) if kept)
    thumbnails = None if known.thumbnails is None else known.thumbnails[rows]
    return LabelledFeatures(known.features.cpu()[rows], labels, thumbnails)


def choose_suspects(answers: Tensor, labels: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Choose the known classes that a batch's images should be compared with.

    Args:
        answers: What the learner takes images of the batch for, as indexes into `classes`, `(N,)`.
        labels: Of these images, length N.
        classes: Known labels, in index order.

    Returns:
        Labels that some class of the batch is taken for often, the most frequent answers first; no more than keep
        comparing `KNOWN_IMAGES` of each about as cheap as looking at the batch.
    """
    limit = max(MIN_KNOWN_CLASSES, len(labels) // KNOWN_IMAGES)
    weight: dict[str, float] = {}
    for label in dict.fromkeys(labels):
        mine = answers[torch.tensor([other == label for other in labels])]
        shares = torch.bincount(mine, minlength=len(classes)).double() / len(mine)
        for k in (shares >= SUSPECT_SHARE).nonzero().squeeze(1).tolist():
            if classes[k] != label:
                weight[classes[k]] = max(weight.get(classes[k], 0.0), float(shares[k]))
    return sorted(weight, key=lambda label: (-weight[label], label))[:limit]
