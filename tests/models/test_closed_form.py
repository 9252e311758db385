import pytest
import torch

from models.background import Background
from models.closed_form import CANDIDATES, Candidate, ClosedForm, offered
from models.head import cosine_scores
from models.novelty import SHRINKAGE
from models.reference import Prior, Reference
from models.shown import FeatureRecords, Shown

WIDTH = 12
EYE = torch.eye(WIDTH, dtype=torch.float64)


def draw(n: int, n_classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Classes whose images scatter most along the first axes, far from the origin."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(n_classes).repeat_interleave(n)
    centres = 2 * torch.randn(n_classes, WIDTH, generator=generator)
    noise = torch.randn(len(targets), WIDTH, generator=generator) * torch.linspace(4, 0.5, WIDTH)
    return 3 + centres[targets] + noise, targets


def seen(n: int, n_classes: int = 4) -> Shown:
    records = FeatureRecords.of(*draw(n, n_classes, 1), n_classes, seed=0)
    return Shown.merged([(1, torch.arange(n_classes), records, None)], n_classes, WIDTH)


@pytest.fixture(scope="module")
def prior() -> Prior:
    background = Background.of(*draw(30, 40, 2), fingerprint="x")
    return Prior(Reference.of(background, torch.zeros(1, WIDTH)))


ASKED = draw(5, 6, 3)[0].double()


def cosines(x: torch.Tensor, means: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    root = torch.linalg.cholesky(torch.linalg.inv(covariance))
    return cosine_scores(x @ root, means @ root)


def shrunk(covariance: torch.Tensor, shrinkage: float) -> torch.Tensor:
    return (1 - shrinkage) * covariance + shrinkage * covariance.diagonal().mean() * EYE


def by_hand(candidate: Candidate, shown: Shown, prior: Prior) -> torch.Tensor:
    x, means = ASKED - prior.centre, shown.means - prior.centre
    if candidate.kind == "cosine":
        return 16 * cosine_scores(ASKED, shown.means)
    if candidate.kind == "centred":
        return 8 * cosine_scores(x, means)
    if candidate.kind == "whitened":
        covariance = shown.scatter / shown.freedom
        return 8 * cosines(x, means, shrunk(covariance, candidate.shrinkage))
    assert prior.within is not None
    if candidate.kind == "pooled":
        pooled = (WIDTH * prior.within.double() + shown.scatter) / (WIDTH + shown.freedom)
        return 8 * cosines(x, means, shrunk(pooled, SHRINKAGE))
    # The posterior mean of a class mean, with Gaussians between and within classes.
    within = shrunk(prior.within.double(), candidate.shrinkage)
    to_discriminants, values = (t.double() for t in prior.discriminants(candidate.shrinkage))
    between = within @ to_discriminants @ torch.diag(values) @ to_discriminants.T @ within
    drawn = torch.stack(
        [
            between @ torch.linalg.inv(between + within / n) @ mean
            for mean, n in zip(means, shown.counts, strict=True)
        ]
    )
    return 12 * cosine_scores(x @ to_discriminants, drawn @ to_discriminants)


@pytest.mark.parametrize("n", [2, 3, 40])
def test_every_cosine_is_the_one_in_its_own_space(prior, n):
    """With 8 images the axes are those that the rows span, with 160 all there are."""
    shown = seen(n)
    candidates = [c for c in offered(shown, prior) if c.kind != "own"]

    scores = ClosedForm(shown, prior, candidates).scores(ASKED)

    assert set(scores.logits) == set(candidates)
    assert len(candidates) == len(CANDIDATES) - 2
    for candidate, logits in scores.logits.items():
        expected = by_hand(candidate, shown, prior).float()
        assert torch.allclose(logits, expected, atol=2e-2), candidate.name


@pytest.mark.parametrize("n", [15, 60])
def test_own_covariances_are_the_same_in_some_axes_and_in_all(prior, n):
    """Whichever axes span the rows: 2 classes of 15 images in 100 dimensions, or in 12."""
    wide = 100
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(wide, wide, generator=generator))[0][:WIDTH]
    features, targets = draw(n, 2, 1)
    in_wide = Shown.merged(
        [(1, torch.arange(2), FeatureRecords.of(features @ turn, targets, 2, seed=0), None)],
        2,
        wide,
    )
    own = [c for c in CANDIDATES if c.kind == "own"]

    scores = ClosedForm(in_wide, Prior.none(wide), own).scores(ASKED.float() @ turn)

    covariance = in_wide.scatter / in_wide.freedom
    eye = torch.eye(wide, dtype=torch.float64)
    for candidate in own:
        sphere = covariance.diagonal().mean() * eye
        shared = (1 - candidate.shrinkage) * covariance + candidate.shrinkage * sphere
        expected = []
        for k in range(2):
            gaps = ASKED @ turn.double() - in_wide.means[k]
            rows = in_wide.rows[in_wide.targets == k] - in_wide.means[k]
            share = n / (n + candidate.prior * wide)
            mine = (1 - share) * shared + share * rows.T @ rows / (n - 1)
            distances = (gaps @ torch.linalg.inv(mine) * gaps).sum(dim=1)
            expected.append(-0.5 * (distances + torch.logdet(mine)))
        differences = scores.logits[candidate].diff(dim=1)[:, 0].double()
        assert torch.allclose(differences, expected[1] - expected[0], rtol=0.05, atol=1.0)


@pytest.mark.parametrize("at_once", [4_000_000, 1])
def test_heads_of_own_covariances_are_the_same_together_and_alone(prior, at_once, monkeypatch):
    """Whether all rows are looked at once, for both of them, or class by class."""
    shown = seen(20)
    own = [c for c in CANDIDATES if c.kind == "own"]
    alone = [ClosedForm(shown, prior, [c]).scores(ASKED).logits[c] for c in own]
    monkeypatch.setattr("models.own_covariances._MOST_NUMBERS", at_once)

    together = ClosedForm(shown, prior, own).scores(ASKED).logits

    for candidate, mine in zip(own, alone, strict=True):
        assert torch.allclose(together[candidate], mine, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("n", [2, 40])
@pytest.mark.parametrize("shrinkages", [(0.9,), (0.6, 0.03)])
def test_a_few_whitened_heads_answer_as_they_do_among_all(prior, n, shrinkages):
    shown = seen(n)
    few = [Candidate("whitened", shrinkage) for shrinkage in shrinkages]
    found = ClosedForm(shown, prior, few).scores(ASKED).logits
    among_all = ClosedForm(shown, prior, offered(shown, prior)).scores(ASKED).logits
    assert list(found) == few
    for candidate in few:
        assert torch.allclose(found[candidate], among_all[candidate], atol=1e-3)


def test_asks_only_what_is_wanted(prior):
    wanted = [Candidate("posterior", 0.9), Candidate("cosine")]

    scores = ClosedForm(seen(5), prior, wanted).scores(ASKED)

    assert list(scores.logits) == wanted
    assert torch.equal(
        scores.logits[wanted[1]],
        ClosedForm(seen(5), prior, wanted[1:]).scores(ASKED).logits[wanted[1]],
    )


def test_images_and_a_background_say_what_can_be_built(prior):
    nothing_known = Prior.none(WIDTH)

    assert {c.kind for c in offered(seen(1), nothing_known)} == {"cosine"}
    assert {c.kind for c in offered(seen(1), prior)} == {"cosine", "centred", "pooled", "posterior"}
    assert {c.kind for c in offered(seen(2), nothing_known)} == {"cosine", "whitened"}
    assert "own" in {c.kind for c in offered(seen(20), nothing_known)}


def test_the_same_image_again_and_again_is_no_trouble(prior):
    features, targets = draw(1, 3, 1)
    records = FeatureRecords.of(
        features.repeat_interleave(20, dim=0), targets.repeat_interleave(20), 3, seed=0
    )
    shown = Shown.merged([(1, torch.arange(3), records, None)], 3, WIDTH)
    for known in (prior, Prior.none(WIDTH)):
        heads = ClosedForm(shown, known, offered(shown, known))

        for candidate, logits in heads.scores(shown.means).logits.items():
            assert logits.isfinite().all(), candidate.name
            assert logits.argmax(dim=1).tolist() == [0, 1, 2], candidate.name


@pytest.mark.parametrize("n_classes", [1, 3])
def test_a_class_without_images_is_the_least_likely_of_all(prior, n_classes):
    shown = Shown.merged([], n_classes + 1, WIDTH).joined(
        1, torch.arange(n_classes), FeatureRecords.of(*draw(20, n_classes, 1), n_classes, seed=0)
    )

    scores = ClosedForm(shown, prior, offered(shown, prior)).scores(ASKED)

    for logits in scores.logits.values():
        assert (logits[:, -1] == torch.finfo(torch.float32).min).all()
