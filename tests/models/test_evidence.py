import pytest
import torch

from models import evidence
from models.closed_form import CANDIDATES, ClosedForm, offered
from models.errors import CheckpointError
from models.evidence import EvidenceHead, folds, opinions_from, opinions_tensor, weigh
from models.reference import Prior
from models.shown import FeatureRecords, Shown
from models.state import StateReader

WIDTH = 12
NOWHERE = Prior.none(WIDTH)


def draw(counts, *, seed: int = 0, stretch: float = 1.0, own: bool = False):
    """Classes around random centres; `stretch` makes the first axes loud, `own` each class its own ones."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(len(counts), WIDTH, generator=generator)
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    noise = torch.randn(len(targets), WIDTH, generator=generator)
    scales = torch.ones(len(counts), WIDTH)
    for k in range(len(counts)):
        first = (3 * k) % WIDTH if own else 0
        scales[k, first : first + 3] = stretch
    return (centres[targets] + noise * scales[targets]), targets


def seen(counts, **how) -> Shown:
    features, targets = draw(counts, **how)
    records = FeatureRecords.of(features, targets, len(counts), seed=0)
    return Shown.merged([(1, torch.arange(len(counts)), records, None)], len(counts), WIDTH)


def share_of(opinions, kind: str) -> float:
    return sum(opinion.weight for opinion in opinions if opinion.candidate.kind == kind)


def test_weights_follow_what_the_classes_are_like():
    few = weigh(*with_folds(seen([3] * 6))).opinions
    loud = weigh(*with_folds(seen([30] * 6, stretch=8.0))).opinions
    own = weigh(*with_folds(seen([120] * 4, stretch=8.0, own=True))).opinions

    assert share_of(few, "own") == 0
    assert share_of(few, "cosine") > 0.05
    assert share_of(loud, "cosine") == 0
    assert share_of(loud, "whitened") > 0.1
    assert share_of(own, "own") > 0.9
    for opinions in (few, loud, own):
        assert sum(opinion.weight for opinion in opinions) == pytest.approx(1)
        assert all(opinion.weight >= evidence.LEAST_WEIGHT for opinion in opinions)


def with_folds(shown: Shown):
    return shown, NOWHERE, folds(shown)


@pytest.mark.parametrize(
    ("counts", "how", "own", "times"),
    [
        ([20] * 60, {}, 1, {1, 5}),  # own covariances are of no use, and the first fold tells
        ([20] * 60, {"stretch": 8.0, "own": True}, 5, {1, 5}),  # they are the best there is
        ([12] * 6, {}, 5, {5}),  # too few rows to tell
    ],
)
def test_heads_that_do_not_count_in_the_first_fold_are_asked_no_more(
    monkeypatch, counts, how, own, times
):
    shown = seen(counts, **how)
    n_built = {}

    class Counted(ClosedForm):
        def __init__(self, shown, prior, candidates):
            super().__init__(shown, prior, candidates)
            for candidate in candidates:
                n_built[candidate] = n_built.get(candidate, 0) + 1

    monkeypatch.setattr(evidence, "ClosedForm", Counted)
    found = weigh(*with_folds(shown))
    asked = dict(n_built)
    monkeypatch.setattr(evidence, "FEWEST_TO_TELL", 10**9)
    n_built.clear()
    afresh = weigh(*with_folds(shown))

    assert min(n for candidate, n in asked.items() if candidate.kind == "own") == own
    assert set(asked.values()) == times
    assert set(n_built.values()) == {5}
    assert n_built.keys() == asked.keys()
    # What is left out hardly counts.
    assert len(found.answers) == len(afresh.answers)
    assert float((found.answers - afresh.answers).abs().max()) < 0.05
    assert {opinion.candidate for opinion in found.opinions} <= asked.keys()


def test_the_mixture_is_never_far_behind_the_best_of_its_heads():
    for counts, how in (([3] * 6, {}), ([30] * 6, {"stretch": 8.0}), ([3, 60, 5, 20], {})):
        shown = seen(counts, **how)
        features, targets = draw([200] * len(counts), **how)
        opinions = weigh(*with_folds(shown)).opinions
        heads = ClosedForm(shown, NOWHERE, offered(shown, NOWHERE))

        right = [
            float((logits.argmax(dim=1) == targets).float().mean())
            for logits in heads.scores(features).logits.values()
        ]
        mixed = EvidenceHead(shown, NOWHERE, opinions).probabilities(features)

        assert float((mixed.argmax(dim=1) == targets).float().mean()) >= max(right) - 0.03


def test_what_is_answered_to_rows_left_out_is_no_better_than_to_new_ones():
    shown = seen([6] * 8, seed=5)
    weighed = weigh(*with_folds(shown))
    rows = torch.cat([fold.rows for fold in folds(shown)])
    left_out = float((weighed.answers.argmax(dim=1) == shown.targets[rows]).double().mean())
    features, targets = draw([300] * 8, seed=5)  # the first draws of this seed are the centres
    head = EvidenceHead(shown, NOWHERE, weighed.opinions)
    fresh = float((head.probabilities(features).argmax(dim=1) == targets).double().mean())
    flattering = float(
        (head.probabilities(shown.rows).argmax(dim=1) == shown.targets).double().mean()
    )

    assert abs(left_out - fresh) < 0.12
    assert flattering > fresh


def test_each_row_is_left_out_once_and_a_lone_image_never():
    shown = seen([1, 2, 9])

    dealt = torch.cat([fold.rows for fold in folds(shown)])

    assert sorted(dealt.tolist()) == list(range(1, 12))
    for fold in folds(shown):
        assert (fold.rest.counts > 0).all()
        assert len(fold.rest.rows) == 12 - len(fold.rows)


def test_rows_of_images_that_trained_a_sub_network_are_never_left_out():
    features, targets = draw([6, 6])
    trained = torch.arange(12) % 3 > 0
    records = FeatureRecords.of(features, targets, 2, seed=0, trained=trained)
    shown = Shown.merged([(1, torch.arange(2), records, None)], 2, WIDTH)

    dealt = torch.cat([fold.rows for fold in folds(shown)])

    assert len(dealt) == 4
    assert shown.untrained[dealt].all()


def test_of_many_rows_as_many_of_each_class_are_left_out(monkeypatch):
    monkeypatch.setattr(evidence, "MOST_LEFT_OUT", 12)
    shown = seen([50, 2, 50])

    dealt = torch.cat([fold.rows for fold in folds(shown)])

    assert torch.bincount(shown.targets[dealt]).tolist() == [4, 2, 4]


@pytest.mark.parametrize("counts", [[1], [5], [1, 1, 1]])
def test_without_evidence_cosines_answer(counts):
    shown = seen(counts)

    opinions = weigh(*with_folds(shown)).opinions
    head = EvidenceHead(shown, NOWHERE, opinions)

    assert [opinion.candidate.kind for opinion in opinions] == ["cosine"]
    assert opinions[0].loss is None
    assert head.probabilities(shown.means).argmax(dim=1).tolist() == list(range(len(counts)))


def test_a_class_without_an_image_is_never_answered():
    shown = seen([5, 5])
    empty = Shown.merged([], 3, WIDTH).joined(
        1, torch.tensor([0, 2]), FeatureRecords.of(*draw([5, 5]), 2, seed=0)
    )

    opinions = weigh(*with_folds(empty)).opinions
    probabilities = EvidenceHead(empty, NOWHERE, opinions).probabilities(shown.rows)

    assert (probabilities[:, 1] < 1e-6).all()
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(10))


def test_the_same_images_give_the_same_bits():
    one, two = (weigh(*with_folds(seen([7, 9, 30]))) for _ in range(2))

    assert one.opinions == two.opinions
    assert torch.equal(one.answers, two.answers)
    assert torch.equal(one.distances, two.distances)


def test_opinions_are_stored_and_read_back():
    opinions = weigh(*with_folds(seen([7, 9, 30]))).opinions

    stored = {"heads": opinions_tensor(opinions)}

    assert opinions_from(StateReader(stored, what="heads"), "heads", CANDIDATES) == opinions


@pytest.mark.parametrize("place", range(6))
def test_forged_opinions_are_refused(place):
    opinions = weigh(*with_folds(seen([7, 9, 30]))).opinions
    stored = opinions_tensor(opinions)
    if place in (2, 5):
        stored = stored[:0] if place == 2 else stored[:, :5]
    else:
        stored[0, place] = -9

    with pytest.raises(CheckpointError):
        opinions_from(StateReader({"heads": stored}, what="heads"), "heads", CANDIDATES)


def test_an_opinion_on_a_head_that_cannot_be_built_is_refused():
    shown = seen([7, 9, 30])
    stored = {"heads": opinions_tensor(weigh(*with_folds(shown)).opinions)}

    with pytest.raises(CheckpointError):
        opinions_from(StateReader(stored, what="heads"), "heads", CANDIDATES[:1])


@pytest.mark.parametrize("told", [10, 1000])
def test_what_is_asked_side_by_side_is_answered_as_one_after_the_other(monkeypatch, told):
    """Whether the first fold tells who is promising, with own covariances beside the other heads, or not."""
    monkeypatch.setattr(evidence, "FEWEST_TO_TELL", told)
    shown = seen([40] * 6, own=True, stretch=6.0)
    before = torch.get_num_threads()

    def weighed(n_threads):
        torch.set_num_threads(n_threads)
        try:
            return weigh(*with_folds(shown))
        finally:
            torch.set_num_threads(before)

    alone, beside = weighed(1), weighed(5)

    assert share_of(alone.opinions, "own") > 0
    assert beside.opinions == alone.opinions
    for name in ("answers", "distances", "beyond_nothing"):
        assert torch.equal(getattr(beside, name), getattr(alone, name))
