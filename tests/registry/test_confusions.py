"""Which classes a version confuses, counted from what it keeps and from what people said."""

import pytest

from registry import confusions, feedback, learners, queue, versions
from registry.confusions import counted
from tests.factories import keep_images, make_learner, make_new_version, make_task

MEASURED = {
    "1": {"heron": {"heron": 6, "egret": 3, "stork": 1}, "egret": {"egret": 9, "heron": 1}},
    "2": {"heron": {"egret": 1, "heron": 1}, "stork": {"stork": 10}},
}


@pytest.fixture
def birds(session, blobs):
    learner = make_learner(session, "birds")
    task = make_task(session, blobs, "birds", classes=("heron", "egret", "stork"))
    claimed = queue.claim(session, task.id, "tests", 30)
    metrics = {"confusion": MEASURED, "cross_validated": {"1": {"heron": 4}}}
    new = make_new_version(session, task, metrics=metrics, classes=["heron", "egret", "stork"])
    versions.publish(session, task.id, claimed.token, new)
    return learner


def test_pairs_are_added_up_over_tasks_and_the_most_images_come_first(session, birds):
    row = versions.get_version(session, birds.id, 1)
    found = confusions.of_version(session, birds.id, row)
    assert [(pair.true, pair.answered, pair.n) for pair in found.pairs()] == [
        ("heron", "egret", 4),
        ("egret", "heron", 1),
        ("heron", "stork", 1),
    ]
    worst = found.pairs()[0]
    assert (worst.share.value, worst.share.n, worst.share.n_cross_validated) == (4 / 12, 12, 4)
    assert found.n == 32
    assert found.share("stork", "stork").value == 1
    assert found.share("crane", "stork") is None


def test_pairs_of_one_class_have_it_on_either_side():
    found = counted(["heron", "egret", "stork"], MEASURED, {}, {})
    assert {(pair.true, pair.answered) for pair in found.pairs("stork")} == {("heron", "stork")}


def test_what_people_said_counts_by_the_version_that_answered(session, blobs, birds):
    prediction = keep_images(session, blobs, birds, ("egret", "egret", "stork"))
    other = keep_images(session, blobs, birds, ("egret",), version=2)
    for index, label in enumerate(("heron", "egret", "stork")):
        feedback.give(session, prediction, index, label, key_id="key")
    feedback.give(session, other, 0, "heron", key_id="key")
    said = confusions.said(session, birds.id, 1)
    assert said == {("heron", "egret"): 1, ("egret", "egret"): 1, ("stork", "stork"): 1}
    row = versions.get_version(session, learners.get_learner(session, "birds").id, 1)
    worst = confusions.of_version(session, birds.id, row).pairs()[0]
    assert (worst.n, worst.n_said) == (4, 1)
    [image] = confusions.said_images(session, birds.id, 1, "heron", "egret", limit=5)
    assert (image.prediction_id, image.index, image.score) == (prediction, 0, 0.5)


def test_held_out_images_are_those_of_the_class_and_of_the_tasks(session, blobs, birds):
    found = confusions.images_of_class(session, birds.id, [1], "heron", limit=50)
    assert found
    assert {image.task_index for image in found} == {1}
    assert confusions.images_of_class(session, birds.id, [2], "heron", limit=50) == []
    taught = confusions.images_of_class(session, birds.id, [1], "heron", split="train", limit=50)
    assert not {image.sample_id for image in taught} & {image.sample_id for image in found}
    assert len(confusions.images_of_class(session, birds.id, [1], "heron", limit=1)) == 1
