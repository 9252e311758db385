"""What is answered without an image is what heads that never saw it answer, whichever heads there are."""

import time

import pytest
import torch

from models.background import Background
from models.closed_form import Candidate, offered
from models.evidence import EvidenceHead, Opinion, folds, weigh
from models.leave_one_out import LeaveOneOut
from models.novelty import Distances
from models.reference import Prior, Reference
from models.shown import FeatureRecords, Shown

WIDTH = 12
EXACT = 1e-3
"""Of probabilities: kept rows are rounded to float16, and heads compute in float32."""
OWN = 0.02
"""Of own covariances, which keep the directions that describe a class."""


def draw(counts, seed: int):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(len(counts), WIDTH, generator=generator)
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    noise = torch.randn(len(targets), WIDTH, generator=generator)
    return 3 + centres[targets] + noise * torch.linspace(2, 0.3, WIDTH), targets


def seen(counts, *, empty: int = 1) -> Shown:
    records = FeatureRecords.of(*draw(counts, 1), len(counts), seed=0)
    shown = Shown.merged([], len(counts) + empty, WIDTH)
    return shown.joined(1, torch.arange(len(counts)), records)


@pytest.fixture(scope="module")
def priors() -> dict[str, Prior]:
    background = Background.of(*draw([30] * 40, 2), fingerprint="x")
    nothing = draw([3], 5)[0]
    return {"background": Prior(Reference.of(background, nothing)), "none": Prior.none(WIDTH)}


def refitted(shown: Shown, prior: Prior, opinions, row: int, asked) -> torch.Tensor:
    """Return what heads answer that were really built without a row."""
    is_out = torch.arange(len(shown.rows)) == row
    head = EvidenceHead(shown.without(is_out), prior, opinions, measures=False)
    return head.probabilities(asked[None])[0].double()


def drawn_rows(shown: Shown, n: int = 12) -> torch.Tensor:
    return torch.randperm(len(shown.rows), generator=torch.Generator().manual_seed(4))[:n]


@pytest.mark.parametrize("known", ["background", "none"])
@pytest.mark.parametrize(
    "counts", [[20, 9, 30], [2, 12, 40], [30] * 4, [12] * 30, [300, 20, 20]], ids=str
)
def test_each_head_answers_as_if_it_were_built_without_the_image(priors, known, counts):
    shown, prior = seen(counts), priors[known]
    rows = drawn_rows(shown)
    for candidate in offered(shown, prior):
        opinions = [Opinion(candidate, 1.0, 1.0, None)]
        found = LeaveOneOut(shown, prior, opinions).answers(rows)
        expected = torch.stack(
            [refitted(shown, prior, opinions, row, shown.rows[row]) for row in rows.tolist()]
        )
        bound = OWN if candidate.kind == "own" else EXACT
        torch.testing.assert_close(found, expected, atol=bound, rtol=0, msg=candidate.name)
        assert float((found - expected).abs().mean()) < bound / 10
        with_it = EvidenceHead(shown, prior, opinions, measures=False)
        moved = (with_it.probabilities(shown.rows[rows]).double() - expected).abs().max()
        assert moved > 3 * (found - expected).abs().max()  # so it is the image that tells


@pytest.mark.parametrize("counts", [[20, 9, 30], [12] * 6], ids=str)
def test_what_counts_answers_so_about_any_other_image(priors, counts):
    shown, prior = seen(counts), priors["background"]
    opinions = weigh(shown, prior, folds(shown)).opinions
    rows, asked = drawn_rows(shown), draw([3] * 4, 7)[0].double()

    found = LeaveOneOut(shown, prior, opinions).answers(rows, asked)

    expected = [
        refitted(shown, prior, opinions, row, x)
        for row, x in zip(rows.tolist(), asked, strict=True)
    ]
    torch.testing.assert_close(found, torch.stack(expected), atol=OWN / 4, rtol=0)


def test_without_its_only_image_a_class_is_never_answered(priors):
    shown = seen([1, 5, 6], empty=0)
    opinions = weigh(shown, priors["none"], folds(shown)).opinions
    answers = LeaveOneOut(shown, priors["none"], opinions).answers(torch.tensor([0]))
    assert answers[0, 0] == 0
    assert float(answers.sum()) == pytest.approx(1)


@pytest.mark.parametrize("known", ["background", "none"])
def test_distances_are_those_without_the_image(priors, known):
    shown, prior = seen([20, 9, 30]), priors[known]
    _, distances = LeaveOneOut(shown, prior, [Opinion(Candidate("cosine"), 1, 1, None)]).look()
    for row in drawn_rows(shown).tolist():
        rest = shown.without(torch.arange(len(shown.rows)) == row)
        cosines, _ = Distances(rest, prior).cosines(shown.rows[row : row + 1])
        assert float(distances[row]) == pytest.approx(1 - float(cosines.max()), abs=EXACT)


@pytest.mark.parametrize("kind", ["cosine", "centred", "posterior"])
def test_which_images_pull_one_wrong_is_told_as_by_leaving_out_both(priors, kind):
    """Of heads whose metric no image moves it is exact."""
    shown, prior = seen([6, 5, 7]), priors["background"]
    [candidate] = [c for c in offered(shown, prior) if c.kind == kind][:1]
    opinions = [Opinion(candidate, 1.0, 1.0, None)]
    without = LeaveOneOut(shown, prior, opinions)
    answers = without.answers(torch.arange(len(shown.rows)))
    wrong = (answers.argmax(dim=1) != shown.targets).nonzero().squeeze(1).tolist()
    assert wrong
    n_mended = 0
    for row in wrong:
        for k in (int(shown.targets[row]), int(answers[row].argmax())):
            rivals = (shown.targets == k).nonzero().squeeze(1)
            rivals = rivals[rivals != row]
            found = without.mended(row, rivals)
            for rival, is_mended in zip(rivals.tolist(), found.tolist(), strict=True):
                is_out = torch.isin(torch.arange(len(shown.rows)), torch.tensor([row, rival]))
                head = EvidenceHead(shown.without(is_out), prior, opinions, measures=False)
                answer = head.probabilities(shown.rows[row : row + 1])[0]
                assert is_mended == (int(answer.argmax()) == int(shown.targets[row]))
                n_mended += is_mended
    assert n_mended


def test_ten_thousand_images_are_left_out_within_seconds():
    n_classes, width = 100, 288
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(n_classes, width, generator=generator)
    targets = torch.arange(n_classes).repeat_interleave(100)
    x = centres[targets] + torch.randn(len(targets), width, generator=generator)
    records = FeatureRecords.of(x, targets, n_classes, seed=0)
    shown = Shown.merged([(1, torch.arange(n_classes), records, None)], n_classes, width)
    opinions = [Opinion(Candidate("whitened", s), 0.5, 1.0, None) for s in (0.3, 0.1)]
    prior = Prior.none(width)

    started = time.process_time()
    answers, _ = LeaveOneOut(shown, prior, opinions).look()

    assert time.process_time() - started < 30  # 1 s on a quiet machine
    assert answers.shape == (10_000, n_classes)
