import pytest
import torch

from models.strategies.artsy.verdict import (
    FEW,
    FEWEST,
    PARTS,
    astray,
    parts,
    reach_verdict,
    split,
    why_not,
)

NONE = torch.empty(0)


def targets_of(*counts: int) -> torch.Tensor:
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


def losses(*values: float) -> torch.Tensor:
    return torch.tensor(values)


def test_few_images_are_not_worth_a_training():
    assert why_not(targets_of(FEWEST, FEWEST), "evidence") is None
    reason = f"fewer than {FEWEST} images a class"
    assert why_not(targets_of(FEWEST - 1, FEWEST), "evidence") == reason
    assert why_not(targets_of(1, 2), "always") is None


def test_a_class_without_many_does_not_keep_the_others_from_it():
    assert why_not(targets_of(3, 100, 5), "evidence") is None


def test_nothing_is_tried_of_one_class_or_against_the_will():
    assert why_not(targets_of(500), "always") == "one class alone leaves nothing to tell apart"
    assert why_not(targets_of(500, 500), "never") == "as configured"


def test_a_lone_class_is_tried_where_others_are_known():
    assert why_not(targets_of(500), "evidence", others=True) is None
    assert why_not(targets_of(500, 500), "never", others=True) == "as configured"


def test_of_few_images_each_judges_once_and_trains_otherwise():
    targets = targets_of(5, 7, 3)

    judging = parts(targets, seed=3)

    assert len(judging) == PARTS
    assert torch.stack(judging).sum(dim=0).eq(1).all()
    # Never a class as a whole.
    assert all(len(targets[~judged].unique()) == 3 for judged in judging)
    assert all(map(torch.equal, judging, parts(targets, seed=3)))


def test_a_single_image_of_a_class_always_trains():
    judging = parts(targets_of(1, 2, 1), seed=3)

    assert torch.stack(judging).any(dim=0).tolist() == [False, True, True, False]
    assert len(judging) == 2
    (none,) = parts(targets_of(1, 1), seed=3)
    assert not none.any()


def test_with_images_enough_a_share_judges_a_single_training():
    targets = targets_of(FEW, FEW)

    (judged,) = parts(targets, seed=3)

    assert torch.equal(judged, split(targets, seed=3))


def test_of_each_class_the_same_share_judges():
    targets = targets_of(20, 4, 5, 10)

    judged = split(targets, seed=3)

    assert torch.bincount(targets[judged], minlength=4).tolist() == [4, 0, 1, 2]


def test_the_images_that_judge_follow_from_the_seed():
    targets = targets_of(20, 20)

    assert torch.equal(split(targets, seed=3), split(targets, seed=3))
    assert not torch.equal(split(targets, seed=3), split(targets, seed=4))


def test_the_classes_need_not_lie_in_order():
    targets = targets_of(10, 10)[torch.randperm(20, generator=torch.Generator().manual_seed(0))]

    assert torch.bincount(targets[split(targets, seed=0)]).tolist() == [2, 2]


@pytest.mark.parametrize(
    ("n_classes", "images", "judges"),
    [(10, 50, 10), (10, 80, 10), (10, 100, 10), (100, 40, 4), (1000, 10, 1), (3, 1000, 100)],
)
def test_many_images_give_fewer_judges_but_never_less_than_a_tenth(n_classes, images, judges):
    targets = targets_of(*[images] * n_classes)

    judged = split(targets, seed=0)

    assert torch.bincount(targets[judged]).tolist() == [judges] * n_classes


def test_a_clear_fall_of_the_loss_is_adopted():
    before = losses(1.0, 0.8, 0.6, 0.9)

    verdict = reach_verdict(before, before - losses(0.3, 0.2, 0.1, 0.2), NONE, NONE)

    assert verdict.adopted
    assert verdict.gain == pytest.approx(0.2)
    # Deviations 0.1, 0, -0.1, 0 about the mean: a variance of 0.02 / 3, by 4 images.
    assert verdict.standard_error == pytest.approx((0.02 / 3 / 4) ** 0.5, abs=1e-4)
    assert (verdict.gain_old, verdict.n) == (None, 4)


def test_what_may_be_chance_is_not_adopted():
    before = losses(1.0, 1.0, 1.0, 1.0)

    verdict = reach_verdict(before, before - losses(0.8, -0.7, 0.7, -0.7), NONE, NONE)

    assert verdict.gain == pytest.approx(0.025)
    assert not verdict.adopted


def test_what_changes_nothing_is_not_adopted():
    assert not reach_verdict(losses(0.5, 0.5), losses(0.5, 0.5), NONE, NONE).adopted


@pytest.mark.parametrize(("gain", "adopted"), [(0.0005, False), (0.009, False), (0.011, True)])
def test_what_is_sure_to_help_hardly_at_all_is_not_adopted(gain, adopted):
    before = losses(0.1, 0.2, 0.3, 0.2)

    verdict = reach_verdict(before, before - gain, NONE, NONE)

    assert verdict.standard_error == pytest.approx(0.0, abs=1e-6)
    assert verdict.adopted is adopted


def test_no_single_image_outweighs_the_others():
    before = losses(0.5, 0.5, 0.5, 0.5, 25.0)

    verdict = reach_verdict(before, losses(0.7, 0.7, 0.7, 0.7, 15.0), NONE, NONE)

    assert verdict.gain == pytest.approx(-0.16)
    assert not verdict.adopted


def test_a_single_judge_is_none():
    verdict = reach_verdict(losses(2.0), losses(0.1), NONE, NONE)

    assert not verdict.adopted
    assert verdict.standard_error is None


def test_without_a_judge_the_features_stay():
    assert not reach_verdict(NONE, NONE, NONE, NONE).adopted
    assert reach_verdict(NONE, NONE, NONE, NONE, always=True).adopted


def test_old_classes_weigh_by_their_number():
    before, after = losses(1.0, 1.1, 0.9), losses(0.9, 1.0, 0.8)
    old, worse = losses(0.5, 0.4), losses(0.55, 0.45)

    of_two_tasks = reach_verdict(before, after, old, worse, new_share=1 / 2)
    of_four_tasks = reach_verdict(before, after, old, worse, new_share=1 / 4)

    assert of_two_tasks.gain_old == pytest.approx(-0.05)
    assert of_two_tasks.adopted
    assert not of_four_tasks.adopted


def test_what_is_to_be_adopted_always_is():
    verdict = reach_verdict(losses(0.1, 0.1), losses(1.0, 1.0), NONE, NONE, always=True)

    assert verdict.adopted
    assert verdict.reason == "as configured"
    assert verdict.gain == pytest.approx(-0.9)


def test_rows_go_astray_by_what_the_map_missed():
    rows = torch.arange(12.0, dtype=torch.float64).reshape(6, 2)
    residuals = torch.tensor([[1.0, -1.0], [3.0, 2.0]])

    missed = astray(rows, residuals, seed=1) - rows

    assert {tuple(each) for each in missed.tolist()} == {(1.0, -1.0), (3.0, 2.0)}
    assert torch.equal(astray(rows, residuals, seed=1), rows + missed)


def test_old_classes_that_a_map_only_seems_to_keep_apart_are_found_out():
    """Two old classes, carried as they are by a map that misses half of how images move."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(2).repeat(50)
    centres = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    rows = centres[targets] + torch.randn(100, 2, generator=generator) * 0.2
    truth = rows + torch.randn(100, 2, generator=generator) * 0.8
    residuals = torch.randn(20, 2, generator=generator) * 0.8

    def loss(features: torch.Tensor) -> torch.Tensor:
        logits = torch.stack([-4 * features[:, 0], 4 * features[:, 0]], dim=1)
        return torch.nn.functional.cross_entropy(logits, targets, reduction="none")

    guessed, true = loss(astray(rows, residuals, seed=0)).mean(), loss(truth).mean()

    assert float(loss(rows).mean()) < 0.02
    assert float(true) > 0.1
    assert float(guessed) == pytest.approx(float(true), rel=0.35)
