"""Joined heads answer as the heads one by one do, whatever was learned."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from models import joined_heads
from models.background import Background
from models.closed_form import Candidate, offered
from models.evidence import EvidenceHead, Opinion, folds, weigh
from models.joined_heads import JoinedHeads, joined
from models.reference import Prior, Reference
from models.shown import FeatureRecords, Shown
from tests.models.strategies.quick import make_quick
from tests.models.taught import teach

WIDTH = 12
ROUNDING = 2e-5
"""Of log-likelihoods of own covariances, which are large numbers; cosines alone are much closer."""


def draw(counts, seed: int):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(len(counts), WIDTH, generator=generator)
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    noise = torch.randn(len(targets), WIDTH, generator=generator)
    return 3 + centres[targets] + noise * torch.linspace(2, 0.3, WIDTH), targets


def seen(counts, *, empty: int = 0) -> Shown:
    n_classes = len(counts) + empty
    records = FeatureRecords.of(*draw(counts, 1), len(counts), seed=0)
    return Shown.merged([], n_classes, WIDTH).joined(1, torch.arange(len(counts)), records)


@pytest.fixture(scope="module")
def priors() -> dict[str, Prior]:
    background = Background.of(*draw([30] * 40, 2), fingerprint="x")
    nothing = draw([3], 5)[0]
    return {
        "background": Prior(Reference.of(background, nothing)),
        "nothing": Prior(Reference.of(None, nothing)),
        "none": Prior.none(WIDTH),
    }


def every_head(shown: Shown, prior: Prior) -> list[Opinion]:
    """All that can be built, each at a temperature of its own."""
    candidates = offered(shown, prior) if len(shown.counts) > 1 else [Candidate("cosine")]
    n = len(candidates)
    return [Opinion(c, 1 / n, 0.3 + i, None) for i, c in enumerate(candidates)]


ASKED = torch.cat([draw([4] * 3, 3)[0], draw([3], 5)[0]])
COUNTS = [[1], [9], [1, 1], [2, 5], [20, 9, 30], [1, 2, 40], [12] * 30]


@pytest.mark.parametrize("known", ["background", "nothing", "none"])
@pytest.mark.parametrize("empty", [0, 2])
@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_they_answer_as_the_heads_one_by_one(priors, known, empty, counts):
    shown, prior = seen(counts, empty=empty), priors[known]
    head = EvidenceHead(shown, prior, every_head(shown, prior))
    together = joined(head)
    assert isinstance(together, JoinedHeads)

    for asked in (ASKED, ASKED[:1], ASKED[:0], ASKED.double()):
        expected, found = head.answer(asked), together.answer(asked)

        for name, values in vars(expected).items():
            torch.testing.assert_close(vars(found)[name], values, atol=ROUNDING, rtol=0)
        assert torch.equal(found.probabilities, together.probabilities(asked))
        assert (found.probabilities[:, len(counts) :] == 0).all()


@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize("known", ["background", "none"])
def test_each_head_alone_answers_as_it_does(priors, known, counts):
    """Those that are built one by one where they are few, and own covariances without any cosine, too."""
    shown, prior = seen(counts), priors[known]
    for opinion in every_head(shown, prior):
        alone = [replace(opinion, weight=1.0)]
        for measures in (True, False):
            head = EvidenceHead(shown, prior, alone, measures=measures)
            torch.testing.assert_close(
                JoinedHeads(head).probabilities(ASKED),
                head.probabilities(ASKED),
                atol=ROUNDING,
                rtol=0,
                msg=opinion.candidate.name,
            )


def test_heads_that_measure_nothing_answer_the_same_bits(priors):
    shown = seen([6, 9, 14])
    opinions = weigh(shown, priors["none"], folds(shown)).opinions
    whole, bare = (EvidenceHead(shown, priors["none"], opinions, measures=m) for m in (True, False))

    assert bare.heads.distances is None
    assert torch.equal(bare.probabilities(ASKED), whole.answer(ASKED).probabilities)


def test_heads_of_too_many_classes_stay_as_they_are(priors, monkeypatch):
    shown = seen([2] * 5)
    head = EvidenceHead(shown, priors["none"], every_head(shown, priors["none"]))
    monkeypatch.setattr(joined_heads, "MOST_PRODUCTS", head.heads.n_products)
    assert joined(head) is not head
    monkeypatch.setattr(joined_heads, "MOST_PRODUCTS", head.heads.n_products - 1)
    assert joined(head) is head


LEARNERS = {
    "one class": ((("a",), 12),),
    "one image": ((("a",), 1),),
    "one image a class": ((("a", "b"), 1), (("c",), 1)),
    "one task": ((("a", "b", "c"), 12),),
    "tasks that share a class": ((("a", "b"), 5), (("b", "c"), 12), (("d",), 3)),
}


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("is_unlearned", [False, True])
def test_a_learner_answers_and_routes_as_without(
    backbone, make_task, monkeypatch, learner, is_unlearned
):
    tasks = [make_task(i, labels, n=n) for i, (labels, n) in enumerate(LEARNERS[learner], start=1)]
    strategy = teach(make_quick("artsy-adapting", backbone), *tasks)
    if is_unlearned and len(tasks) > 1:
        strategy.unlearn(tasks=[1])
    images = torch.cat([task.held_out_images for task in tasks])

    strategy._head = strategy._material = None
    found = [strategy.predict(images[:n]) for n in (len(images), 1, 0)]
    assert isinstance(strategy._head, JoinedHeads)
    monkeypatch.setattr(joined_heads, "MOST_PRODUCTS", 0)
    strategy._head = strategy._material = None
    for group in strategy.history.subnetworks:
        for subnetwork in group.values():
            vars(subnetwork).pop("_joined", None)
    expected = [strategy.predict(images[:n]) for n in (len(images), 1, 0)]

    for mine, theirs in zip(found, expected, strict=True):
        for name in ("functional", "passes", "thresholds"):
            assert torch.equal(vars(mine)[name], vars(theirs)[name]), name
        for name in ("probabilities", "unrouted", "currents"):
            a, b = vars(mine)[name], vars(theirs)[name]
            torch.testing.assert_close(a, b, atol=ROUNDING, rtol=0, msg=name)
        # Images of noise lie so close to each other that rounding moves them among themselves.
        torch.testing.assert_close(mine.novelty, theirs.novelty, atol=0.02, rtol=0)


class Steps(TorchDispatchMode):
    """Counts what PyTorch is asked to do."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


def test_more_tasks_and_heads_take_no_more_steps(backbone, make_task):
    """And none of those that are shared out among threads even for one image."""
    labels = [(f"{i}a", f"{i}b") for i in range(6)]
    tasks = [make_task(i, mine, n=4) for i, mine in enumerate(labels, start=1)]
    counts = []
    for n in (2, 6):
        strategy = make_quick("artsy", backbone)
        for task in tasks[:n]:
            strategy.learn(task)
        strategy.prepare()
        features = strategy.features_of(tasks[0].images[:1]).clone()
        strategy.predict_features(features, tasks[0].images.__getitem__)
        with Steps() as steps:
            strategy.predict_features(features, tasks[0].images.__getitem__)
        counts.append(len(steps.names))
        assert not any("softmax" in name or "repeat_interleave" in name for name in steps.names)

    assert counts[0] == counts[1] < 100
