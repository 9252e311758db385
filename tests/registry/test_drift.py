"""Drift: false alarms at the stated rate with unequal and small numbers and a look a day, and what is found."""

import math
import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest

from registry import drift
from registry.drift import Counted, chi_square_above, find, fisher, rank_sum
from registry.ids import new_id
from registry.predictions import NewPrediction, add_predictions
from tests.factories import make_learner

TODAY = date(2026, 3, 1)
STREAMS = 100
"""Learners that are drawn, each looked at on 30 days."""


def a_day(draw, n, *, unknown=0.04, tilt=1.0, weights=(8, 4, 2, 1, 1, 1)):
    """Draw what one day answers: novelties are uniform for a tilt of 1, and more novel above it."""
    novelty = [draw.random() ** (1 / tilt) for _ in range(n)]
    labels = draw.choices([f"class {i}" for i in range(len(weights))], weights, k=n)
    return Counted(
        n,
        sum(draw.random() < unknown for _ in range(n)),
        0.9 * n,
        Counter(min(int(value * drift.BINS), drift.BINS - 1) for value in novelty),
        Counter(labels),
        (1, 1),
    )


def days_before(draw, numbers, **drawn):
    return {
        TODAY - timedelta(days=ago + 1): a_day(draw, n, **drawn) for ago, n in enumerate(numbers)
    }


@pytest.mark.parametrize("most", [8, 40, 200])
def test_where_nothing_changes_hardly_one_learner_in_twenty_is_told_within_a_month(most):
    told = 0
    for seed in range(STREAMS):
        draw = random.Random(seed)
        days = days_before(draw, [draw.randint(0, most) for _ in range(60)])
        looks = (TODAY - timedelta(days=ago) for ago in range(drift.LOOKS))
        told += any(find(days, look) for look in looks)
    assert told <= 0.05 * STREAMS + 4


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("unknown", {"unknown": 0.31}),
        ("novelty", {"tilt": 2.5}),
        ("classes", {"weights": (2, 4, 8, 1, 1, 1)}),
    ],
)
def test_a_clear_change_of_three_days_is_found(kind, changed):
    found = 0
    for seed in range(STREAMS):
        draw = random.Random(seed)
        days = days_before(draw, [40] * 28)
        for ago in range(1, 4):
            days[TODAY - timedelta(days=ago)] = a_day(draw, 40, **changed)
        found += kind in {change.kind for change in find(days, TODAY)}
    assert found >= 0.95 * STREAMS


def test_a_change_says_since_when_and_from_how_many():
    draw = random.Random(3)
    days = days_before(draw, [100] * 28)
    days[TODAY - timedelta(days=1)] = a_day(draw, 100, unknown=0.5)
    change = next(change for change in find(days, TODAY) if change.kind == "unknown")
    assert (change.since, change.days, change.n_now) == (TODAY - timedelta(days=1), 1, 100)
    assert change.n_before == 100 * drift.REFERENCE_DAYS
    assert change.now > 0.3 > 0.1 > change.before
    assert not change.is_new_version


def test_a_small_change_is_not_told_however_sure_it_is():
    draw = random.Random(4)
    days = days_before(draw, [5000] * 22)
    days[TODAY - timedelta(days=1)] = a_day(draw, 5000, unknown=0.08)
    assert find(days, TODAY) == []


def test_few_requests_and_today_are_not_judged():
    draw = random.Random(5)
    days = days_before(draw, [100] * 28)
    days[TODAY - timedelta(days=1)] = a_day(draw, drift.LEAST - 1, unknown=1.0, tilt=9)
    days[TODAY] = a_day(draw, 500, unknown=1.0, tilt=9)
    assert all(change.days != 1 for change in find(days, TODAY))


def test_the_closed_forms_agree_with_known_numbers():
    ways = sum(math.comb(10, k) * math.comb(10, 10 - k) for k in (0, 1, 9, 10))
    assert fisher(1, 10, 9, 10) == pytest.approx(ways / math.comb(20, 10))
    assert fisher(0, 50, 0, 7) == pytest.approx(1.0)
    assert chi_square_above(37.566, 20) == pytest.approx(0.01, abs=1e-5)
    chance, above = rank_sum({0: 10}, {0: 10})
    assert (chance, above) == (1.0, 0.5)
    assert rank_sum({0: 30}, {1: 30})[1] == 1.0


def test_stored_predictions_are_counted_by_day_and_the_first_image_of_each(session):
    learner = make_learner(session)
    other = make_learner(session, "others")
    now = datetime.now(UTC)

    def ask(owner, days, label, *, known, novelty=0.5, more=()):
        first = {"label": label, "known": known, "novelty": novelty, "score": 0.8}
        at = now - timedelta(days=days)
        results = [first, *more]
        row = NewPrediction(new_id("prd"), owner.id, 2, results, [label], not known, at)
        add_predictions(session, [row])

    ask(learner, 1, "heron", known=True, more=[{"label": "egret", "known": False}])
    ask(learner, 1, "egret", known=False, novelty=1.0)
    ask(learner, 2, "heron", known=True, novelty=0.0)
    ask(learner, 400, "heron", known=True)
    ask(other, 1, "stork", known=True)
    unusable = [{"problem": {"code": "unusable"}}]
    add_predictions(
        session, [NewPrediction(new_id("prd"), learner.id, 2, unusable, [], False, now)]
    )
    found = drift.of_learner(session, learner.id)
    yesterday = found.days[found.today - timedelta(days=1)]
    assert sorted(found.days) == [found.today - timedelta(days=days) for days in (2, 1)]
    assert (yesterday.n, yesterday.n_unknown, yesterday.versions) == (2, 1, (2, 2))
    assert yesterday.classes == {"heron": 1, "egret": 1}
    assert (yesterday.unknown, yesterday.mean_score) == (0.5, pytest.approx(0.8))
    assert yesterday.quantile(0.5) == pytest.approx(0.51)
    assert found.changes == []
