from dataclasses import replace

import pytest
import torch

from models.background import Background
from models.errors import CheckpointError
from models.reference import Prior, Reference
from models.statistics import Drift

WIDTH = 16


@pytest.fixture(scope="module")
def background() -> Background:
    """Classes that differ along the first axes, and images of one class along the last ones."""
    generator = torch.Generator().manual_seed(0)
    between = torch.linspace(3, 0.1, WIDTH)
    means = torch.randn(60, WIDTH, generator=generator) * between
    targets = torch.arange(60).repeat_interleave(30)
    noise = torch.randn(len(targets), WIDTH, generator=generator) * between.flip(0)
    return Background.of(2 + means[targets] + noise, targets, fingerprint="x")


@pytest.fixture(scope="module")
def reference(background) -> Reference:
    nothing = torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(7))
    return Reference.of(background, nothing)


def test_of_few_dimensions_nothing_of_the_background_is_lost(background, reference):
    prior = Prior(reference)

    assert prior.within is not None
    assert torch.allclose(prior.within.double(), background.within, rtol=0.01, atol=0.02)
    assert torch.allclose(prior.centre, background.mean, atol=1e-5)
    between = background.covariance - background.within
    kept = (reference.between * reference.deviations[:, None]).double()
    # Where classes hardly differ, what is left after the subtraction is noise.
    assert torch.allclose(kept.T @ kept, between, rtol=0.02, atol=0.2)


def test_discriminants_have_unit_variance_within_classes_and_their_own_between(
    background, reference
):
    to_discriminants, values = (part.double() for part in Prior(reference).discriminants(0.0))
    to_discriminants, values = to_discriminants[:, values > 0.1], values[values > 0.1]

    assert len(values) > WIDTH / 2
    within = to_discriminants.T @ background.within @ to_discriminants
    between = to_discriminants.T @ (background.covariance - background.within) @ to_discriminants
    assert torch.allclose(within, torch.eye(len(values), dtype=torch.float64), atol=0.1)
    assert torch.allclose(between.diagonal(), values, rtol=0.1, atol=0.1)
    # The first axis tells classes apart, the last one does not.
    assert to_discriminants[0, values.argmax()].abs() > to_discriminants[-1, values.argmax()].abs()


def test_without_a_background_there_is_nothing_to_go_by():
    prior = Prior.none(WIDTH)

    assert prior.within is None
    assert not prior.offers_means
    assert not prior.centre.any()
    assert len(Reference.of(None, torch.randn(5, WIDTH)).nothing) == 5


def test_moves_with_the_features(reference):
    generator = torch.Generator().manual_seed(4)
    drift = Drift(
        0.05 * torch.randn(WIDTH, WIDTH, generator=generator).double(),
        torch.randn(WIDTH, generator=generator).double(),
    )
    jacobian = torch.eye(WIDTH, dtype=torch.float64) + drift.linear

    moved = reference.carried(drift)

    for name in ("directions", "between"):
        before, after = (vars(one)[name].double() for one in (reference, moved))
        assert torch.allclose(
            after.T @ after, jacobian.T @ (before.T @ before) @ jacobian, rtol=0.02, atol=0.05
        )
    assert torch.allclose(moved.mean.double(), drift.apply(reference.mean.double()[None])[0])
    assert reference.carried(None) is reference


def test_is_stored_and_read_back(reference):
    again = Reference.from_state(reference.state_dict("a."), "a.", WIDTH)

    assert all(torch.equal(vars(reference)[name], value) for name, value in vars(again).items())


def test_one_of_before_it_kept_how_classes_differ_says_nothing_of_it(reference):
    state = reference.state_dict("a.")
    del state["a.between"], state["a.deviations"]

    prior = Prior(Reference.from_state(state, "a.", WIDTH))

    assert prior.within is not None
    assert not prior.offers_means


@pytest.mark.parametrize("name", ["mean", "directions", "rest", "between", "deviations", "nothing"])
def test_a_damaged_one_is_refused(reference, name):
    damaged = replace(reference, **{name: torch.zeros(3, 3, 3)})

    with pytest.raises(CheckpointError, match="what is kept of a background"):
        Reference.from_state(damaged.state_dict("a."), "a.", WIDTH)
