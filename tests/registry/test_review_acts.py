import pytest
from sqlalchemy import select

from registry import feedback, learners, review_acts, reviews, tasks
from registry.errors import LabelConfusableError
from registry.reviews import Wanted
from registry.tables import FeedbackRow
from tests.factories import keep_images, make_learner, make_task, publish_task

KEY = "0123456789ab"


@pytest.fixture
def birds(session, blobs):
    learner = make_learner(session)
    publish_task(session, make_task(session, blobs, n_train=2, n_eval=1))
    return learner


@pytest.fixture
def asked(session, blobs, birds):
    return keep_images(session, blobs, birds, ("heron", "egret", "heron"))


def keys(asked, *indexes):
    return [(asked, index) for index in indexes]


def waiting(session, learner):
    found = reviews.list_waiting(session, learner.id, Wanted(), limit=100)
    return {one.index for one in found}


def said(session):
    rows = session.scalars(select(FeedbackRow).order_by(FeedbackRow.index))
    return {row.index: row.label for row in rows}


def name(session, learner, wanted, label="owl"):
    act = review_acts.new_act()
    return act, review_acts.name(session, learner.id, wanted, label, key_id=KEY, act=act)


def test_many_are_named_at_once_and_taken_back_together(session, birds, asked):
    act, settled = name(session, birds, keys(asked, 0, 2))
    assert settled == keys(asked, 0, 2)
    assert said(session) == {0: "owl", 2: "owl"}
    assert waiting(session, birds) == {1}
    # Settled once, they are left out; so is what was never there.
    assert name(session, birds, [*keys(asked, 0, 9), ("prd_x", 0)], "wren")[1] == []
    assert set(review_acts.undo(session, birds.id, act)) == set(keys(asked, 0, 2))
    assert said(session) == {}
    assert waiting(session, birds) == {0, 1, 2}
    assert review_acts.undo(session, birds.id, act) == []


def test_confirming_says_of_each_what_was_answered(session, birds, asked):
    act = review_acts.new_act()
    review_acts.confirm(session, birds.id, keys(asked, 0, 1), key_id=KEY, act=act)
    assert said(session) == {0: "heron", 1: "egret"}


def test_what_is_discarded_is_not_asked_again_until_that_is_taken_back(session, birds, asked):
    act = review_acts.new_act()
    assert review_acts.discard(session, birds.id, keys(asked, 1), act=act) == keys(asked, 1)
    assert said(session) == {}
    assert waiting(session, birds) == {0, 2}
    review_acts.undo(session, birds.id, act)
    assert waiting(session, birds) == {0, 1, 2}


def test_a_name_that_looks_like_another_is_refused_for_all(session, birds, asked):
    with pytest.raises(LabelConfusableError):
        name(session, birds, keys(asked, 0, 1), "HERON")
    name(session, birds, keys(asked, 0), "owl")
    with pytest.raises(LabelConfusableError):
        name(session, birds, keys(asked, 1), "Owl")


def test_another_learners_images_are_left_out(session, blobs, birds, asked):
    fish = make_learner(session, "fish")
    assert name(session, fish, keys(asked, 0, 1))[1] == []
    act, _ = name(session, birds, keys(asked, 0))
    assert review_acts.undo(session, fish.id, act) == []
    assert waiting(session, birds) == {1, 2}


def test_what_a_task_has_taken_cannot_be_taken_back(session, birds, asked):
    act, _ = name(session, birds, keys(asked, 0, 1, 2), "owl")
    learner = learners.get_learner(session, "birds")
    options = {"mode": "new_classes", "min_images": 2, "uploaded": set(), "limit": 100}
    chosen = feedback.fitting(session, learner, **options)
    task = tasks.add_task(
        session, "birds", name=None, mode="new_classes", options={}, config={}, seed=0,
        classes=["owl"], n_train=3, n_eval=0,
    )  # fmt: skip
    feedback.take(session, task, chosen)
    assert review_acts.undo(session, birds.id, act) == []
    assert waiting(session, birds) == set()
    tasks.request_cancel(session, task.id)
    assert len(review_acts.undo(session, birds.id, act)) == 3


def test_pending_feedback_is_counted_by_label(session, birds, asked):
    name(session, birds, keys(asked, 0, 2), "owl")
    name(session, birds, keys(asked, 1), "egret")
    assert feedback.count_pending(session, birds.id) == {"owl": 2, "egret": 1}
