import random

import pytest

from service.inference.batch_cost import BatchCost, BatchCosts


def measured(batch_s, image_s, sizes, noise=0.0):
    chance, cost = random.Random(0), BatchCost()
    for n in sizes:
        cost.observe(n, (batch_s + image_s * n) * (1 + noise * (chance.random() - 0.5)))
    return cost


@pytest.mark.parametrize("sizes", [(1, 2, 3, 8, 8, 1), tuple(range(1, 60)), (1, 64) * 9])
def test_both_parts_are_told_apart(sizes):
    cost = measured(0.008, 0.002, sizes)
    assert cost.seconds(1) == pytest.approx(0.010)
    assert cost.seconds(64) == pytest.approx(0.136)
    rough = measured(0.008, 0.002, sizes, noise=0.4)
    assert rough.seconds(64) == pytest.approx(0.136, rel=0.6)


@pytest.mark.parametrize("n", [1, 7, 64])
def test_batches_of_one_size_tell_of_that_size_and_are_careful_about_others(n):
    cost = measured(0.008, 0.002, [n] * 30)
    assert cost.seconds(n) == pytest.approx(0.008 + 0.002 * n)
    assert cost.seconds(64) >= 0.136 - 1e-9


@pytest.mark.parametrize("seconds", [(0.010, 0.010), (0.010, 0.009), (0.0, 0.0)])
def test_a_larger_batch_never_costs_nothing_more(seconds):
    cost = BatchCost()
    for n, took in zip((1, 2), seconds, strict=True):
        cost.observe(n, took)
    batch_s, image_s = cost.line()
    assert batch_s >= 0
    assert image_s >= 0.19 * sum(seconds) / 3


def test_what_is_past_fades():
    cost = measured(0.08, 0.02, range(1, 9))
    for n in (1, 8) * 40:
        cost.observe(n, 0.008 + 0.002 * n)
    assert cost.seconds(8) == pytest.approx(0.024, rel=0.05)


def test_a_burst_after_single_images_is_not_taken_for_as_many_single_ones():
    costs = BatchCosts(max_batch=64, cold_image_s=0.005)
    for n in (1, 1, 2, 1, 3, 1):
        costs.observe("tiny", n, 0.025 + 0.005 * n)
    alone = 64 * costs.seconds("tiny", 1)
    assert costs.in_turn("tiny", 64) == pytest.approx(0.345)
    assert alone > 5 * costs.in_turn("tiny", 64)


def test_each_backbone_has_its_own():
    costs = BatchCosts(max_batch=8, cold_image_s=0.005)
    costs.observe("large", 4, 4.0)
    assert costs.seconds("large", 4) == 4.0
    assert costs.seconds("tiny", 4) == pytest.approx(0.02)
    assert costs.images_within("large", 2.5) == 2
    assert costs.images_within("tiny", 60) == 1


def test_images_within_a_time_are_at_least_one_and_at_most_a_batch():
    costs = BatchCosts(max_batch=8, cold_image_s=0.005)
    for n in (1, 4, 8):
        costs.observe("tiny", n, 0.008 + 0.002 * n)
    assert [costs.images_within("tiny", s) for s in (0.001, 0.0141, 9)] == [1, 3, 8]
    costs.observe("free", 1, 0.0)
    assert costs.images_within("free", 1.0) == 8
