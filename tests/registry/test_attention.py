import random

import pytest

from registry.attention import worse
from registry.measures import share

DRAWN = 100
"""Learners that are drawn."""


def drawn(seed: int, *, n_classes: int, n: int, learned: float, now: float):
    """What is counted of a learner's classes, of images drawn anew both times: chance at its worst."""
    draw = random.Random(seed)
    return [
        (
            str(i),
            True,
            *(share(sum(draw.random() < p for _ in range(n)), n) for p in (learned, now)),
        )
        for i in range(n_classes)
    ]


@pytest.mark.parametrize(("n_classes", "n", "right"), [(5, 10, 0.8), (100, 20, 0.9), (300, 6, 0.7)])
def test_where_nothing_is_forgotten_hardly_one_learner_in_twenty_is_told_of_any(
    n_classes, n, right
):
    alarms = sum(
        bool(worse(drawn(seed, n_classes=n_classes, n=n, learned=right, now=right)))
        for seed in range(DRAWN)
    )
    assert alarms <= 0.1 * DRAWN


def test_what_is_forgotten_is_found_among_many():
    found = 0
    for seed in range(DRAWN):
        pairs = drawn(seed, n_classes=100, n=40, learned=0.9, now=0.9)
        pairs += [("gone", True, share(38, 40), share(14, 40))]
        found += "gone" in {each.name for each in worse(pairs)}
    assert found == DRAWN


def test_what_was_not_measured_is_not_judged():
    assert worse([("heron", True, None, share(1, 9)), ("crane", True, share(9, 9), None)]) == []
