from dataclasses import replace

import pytest
import torch

from models.background import Background
from models.errors import CheckpointError
from models.evidence import balance, folds, weigh
from models.novelty import NEARER_TO_NOTHING, Distances, Scale
from models.reference import Prior, Reference
from models.shown import FeatureRecords, Shown
from models.statistics import Drift

WIDTH = 16


def draw(n: int, n_classes: int, *, first: int = 0, seed: int = 0):
    """Images of classes whose centres depend on their number alone."""
    targets = torch.arange(n_classes).repeat_interleave(n)
    centres = torch.stack(
        [
            2 * torch.randn(WIDTH, generator=torch.Generator().manual_seed(first + k))
            for k in range(n_classes)
        ]
    )
    noise = torch.randn(len(targets), WIDTH, generator=torch.Generator().manual_seed(999 + seed))
    return 1 + centres[targets] + noise, targets


def seen(n: int, n_classes: int) -> Shown:
    features, targets = draw(n, n_classes)
    records = FeatureRecords.of(features, targets, n_classes, seed=0)
    return Shown.merged([(1, torch.arange(n_classes), records, None)], n_classes, WIDTH)


@pytest.fixture(scope="module")
def reference() -> Reference:
    background = Background.of(*draw(30, 40, first=100), fingerprint="x")
    generator = torch.Generator().manual_seed(7)
    return Reference.of(background, 1 + 6 * torch.randn(5, WIDTH, generator=generator))


def novelty(shown: Shown, reference: Reference, features: torch.Tensor) -> torch.Tensor:
    distances = Distances(shown, Prior(reference))
    return scale_of(shown, reference).novelty(*distances.measure(features))


def scale_of(shown: Shown, reference: Reference) -> Scale:
    left_out = folds(shown)
    rows = torch.cat([fold.rows for fold in left_out] or [shown.targets[:0]])
    weighed = weigh(shown, Prior(reference), left_out)
    return Scale.of(weighed.distances, weighed.beyond_nothing, balance(shown.targets[rows]))


@pytest.mark.parametrize(
    ("n", "n_classes", "most"), [(5, 3, 0.12), (10, 2, 0.12), (40, 6, 0.07), (200, 1, 0.07)]
)
def test_one_known_image_in_twenty_exceeds_95_per_cent(reference, n, n_classes, most):
    fresh, _ = draw(400, n_classes, seed=3)

    alarms = (novelty(seen(n, n_classes), reference, fresh) > 0.95).double().mean()

    assert (0.03 if most < 0.1 else 0.0) < alarms < most


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_images_of_other_classes_are_newer(reference, n):
    known, _ = draw(100, 4, seed=3)
    others, _ = draw(100, 6, first=50, seed=3)
    shown = seen(n, 4)

    near, far = (novelty(shown, reference, part) for part in (known, others))

    assert (far[:, None] > near[None]).double().mean() > 0.85
    assert ((near >= 0) & (near <= 1)).all()


def test_without_a_background_novelty_works_too():
    none = Reference.of(None, torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(1)))
    known, _ = draw(100, 4, seed=3)
    others, _ = draw(100, 6, first=50, seed=3)

    near, far = (novelty(seen(20, 4), none, part) for part in (known, others))

    assert (far[:, None] > near[None]).double().mean() > 0.85
    assert (near > 0.95).double().mean() < 0.1


def test_what_looks_like_nothing_is_new_whatever_the_classes(reference):
    nothing = reference.nothing.float() + 0.1 * torch.randn(
        5, WIDTH, generator=torch.Generator().manual_seed(2)
    )

    for n in (1, 20):
        assert (novelty(seen(n, 4), reference, nothing) == 1).all()


def test_a_class_that_looks_like_nothing_may_be_known(reference):
    features, targets = draw(20, 3)
    blank = reference.nothing[0].float() + 0.05 * torch.randn(
        40, WIDTH, generator=torch.Generator().manual_seed(2)
    )
    records = FeatureRecords.of(
        torch.cat([features, blank[:20]]),
        torch.cat([targets, torch.full((20,), 3)]),
        4,
        seed=0,
    )
    shown = Shown.merged([(1, torch.arange(4), records, None)], 4, WIDTH)

    assert (novelty(shown, reference, blank[20:]) < 0.95).double().mean() > 0.8


def test_grows_with_the_distance_and_beyond_the_last_image(reference):
    shown = seen(10, 3)
    scale = scale_of(shown, reference)
    distances = torch.linspace(0, 2, 200)

    shares = scale.novelty(distances, torch.zeros(200))

    assert (shares.diff() >= 0).all()
    beyond = shares[distances > scale.knots[-1]]
    assert (beyond[:10].diff() > 0).all()
    assert beyond[-1] <= 1


def test_moves_with_the_features(reference):
    generator = torch.Generator().manual_seed(4)
    drift = Drift(
        0.05 * torch.randn(WIDTH, WIDTH, generator=generator).double(),
        torch.randn(WIDTH, generator=generator).double(),
    )
    shown = seen(20, 3)
    known, _ = draw(50, 3, seed=3)

    before = novelty(shown, reference, known)
    after = novelty(
        shown.moved(drift), reference.carried(drift), drift.apply(known.double()).float()
    )

    assert (before - after).abs().mean() < 0.1
    assert reference.carried(None) is reference


def test_is_stored_and_read_back(reference):
    scale = scale_of(seen(10, 3), reference)

    again = Scale.from_state(scale.state_dict("b."), "b.")

    assert all(torch.equal(vars(scale)[name], value) for name, value in vars(again).items())
    assert scale.bound >= NEARER_TO_NOTHING


def test_an_empty_scale_is_refused(reference):
    scale = scale_of(seen(10, 3), reference)
    empty = replace(scale, knots=scale.knots[:0], shares=scale.shares[:0])

    with pytest.raises(CheckpointError, match="the scale of novelty"):
        Scale.from_state(empty.state_dict("b."), "b.")
