"""Measures by hand, against published intervals, and against what chance does."""

import numpy as np
import pytest

from registry.measures import Measure, difference, mean_of_tasks, mean_of_versions, share


def limits(measure):
    return (measure.low, measure.high)


def test_a_difference_has_the_published_interval():
    # Newcombe, 1998, table II, method 10: 56/70 - 48/80, and 10/10 - 0/20.
    assert limits(difference(share(56, 70), share(48, 80))) == pytest.approx(
        (0.0524, 0.3339), abs=1e-4
    )
    assert limits(difference(share(10, 10), share(0, 20))) == pytest.approx((0.6791, 1.0), abs=1e-4)


def test_a_mean_over_tasks_is_surer_than_each_and_one_over_versions_is_not():
    each = [share(8, 10), share(8, 10), None, share(8, 10)]
    over_tasks, over_versions = mean_of_tasks(each), mean_of_versions(each)
    assert over_tasks.value == over_versions.value == pytest.approx(0.8)
    assert limits(over_versions) == pytest.approx(limits(share(8, 10)))
    assert 0.8 - over_tasks.low == pytest.approx((0.8 - share(8, 10).low) / 3**0.5)
    assert (over_tasks.n, over_versions.n) == (30, 10)


def test_nothing_measured_has_no_measure():
    assert share(0, 0) is None
    assert difference(share(1, 2), None) is None
    assert mean_of_tasks([None]) is mean_of_versions([]) is None


def test_what_was_measured_by_what():
    assert [share(1, 4, n).measured_by for n in (0, 1, 4)] == [
        "held_out",
        "both",
        "cross_validated",
    ]
    both = mean_of_tasks([share(1, 4), share(1, 4, 4)])
    assert (both.measured_by, both.n, both.n_cross_validated) == ("both", 8, 4)


@pytest.mark.parametrize(
    ("right", "n", "expected"),
    [(5, 10, True), (10, 20, True), (11, 22, False), (5, 5, True), (6, 6, False), (9, 10, False)],
)
def test_too_few_to_tell(right, n, expected):
    assert share(right, n).is_too_few is expected


def test_a_difference_within_its_uncertainty():
    assert difference(share(9, 10), share(8, 10)).may_be_zero
    assert not difference(share(90, 100), share(70, 100)).may_be_zero
    assert Measure(0.0, 0.0, 0.0, 10).may_be_zero


@pytest.mark.parametrize(("n_tasks", "n"), [(1, 5), (4, 10), (9, 20)])
def test_forgetting_is_covered_as_often_as_said(n_tasks, n):
    # Each image is answered by both versions, so what is stated is on the safe side.
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        drops = []
        for _ in range(n_tasks):
            knew = rng.random(n) < 0.9
            knows = knew & (rng.random(n) < 0.8)
            drops.append(difference(share(knew.sum(), n), share(knows.sum(), n)))
        mean = mean_of_tasks(drops)
        covered += mean.low <= 0.9 * 0.2 <= mean.high
    assert covered >= 0.95 * 400
