"""The arithmetic of `filopodia test`."""

from pathlib import Path

import pytest

from service.cli.measures import (
    Judged,
    Names,
    Share,
    confused_pairs,
    confusion,
    mean_class_accuracy,
    worst,
)


def judged(truth, answer, score=0.9, file="a.png", *, known=True):
    return Judged(Path(file), truth, answer, score, known)


IMAGES = [
    *[judged("heron", "heron")] * 8,
    *[judged("heron", "egret", 0.6, "h.png")] * 2,
    judged("egret", "egret"),
    judged("egret", "stork", 0.95, "e.png"),
]


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        # From scipy's binomtest(right, n).proportion_ci(method="wilson").
        (0, 10, 0.0, 0.277533),
        (5, 10, 0.236593, 0.763407),
        (10, 10, 0.722467, 1.0),
        (1, 1, 0.206549, 1.0),
        (81, 263, 0.255289, 0.366210),
        (4998, 5000, 0.998542, 0.999890),
    ],
)
def test_the_interval_is_wilsons(right, n, low, high):
    interval = Share(right, n).interval
    assert interval == pytest.approx((low, high), abs=5e-6)


def test_no_image_has_no_accuracy():
    assert Share(0, 0).accuracy is None
    assert Share(0, 0).interval is None
    assert mean_class_accuracy([]) is None


def test_each_class_can_weigh_alike():
    assert Share.of(IMAGES).accuracy == pytest.approx(9 / 12)
    assert mean_class_accuracy(IMAGES) == pytest.approx((0.8 + 0.5) / 2)


def test_confusion_counts_every_answer():
    assert confusion(IMAGES) == {
        "egret": {"egret": 1, "stork": 1},
        "heron": {"heron": 8, "egret": 2},
    }
    assert confused_pairs(IMAGES) == [("heron", "egret", 2), ("egret", "stork", 1)]


def test_the_most_confident_wrong_answer_is_the_worst():
    assert [image.file.name for image in worst(IMAGES)] == ["e.png", "h.png", "h.png"]


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("heron", "Grey heron"),
        ("Grey heron", "Grey heron"),
        ("GREY HERON", "Grey heron"),
        ("K\u0075\u0308ken", "K\u00fcken"),
        ("\uff43\uff41\uff54", "cat"),
        ("owl", None),
        ("A", "A"),
        ("a", "a"),
        ("\uff22", None),
    ],
)
def test_a_folder_may_call_a_class_as_it_was_learned_or_is_called(label, name):
    names = Names(
        {"heron": "Grey heron", "K\u00fcken": "K\u00fcken", "cat": "cat", "A": "A", "a": "a"}
        | {"B": "B", "b": "b"}
    )
    assert names.answered_as(label) == name
