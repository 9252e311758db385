"""What subscribers are told of answers: by their rules, with the names of today."""

from datetime import UTC, datetime

import pytest

from registry import classes, deliveries, telling_answers
from registry.ids import new_id
from registry.notices import PREDICTED
from registry.predictions import NewPrediction
from tests.factories import make_learner, make_subscription

HERON = {"filename": "a.png", "label": "heron", "score": 0.9, "known": True, "novelty": 0.1}
UNKNOWN = {"filename": "b.png", "label": "egret", "score": 0.4, "known": False, "novelty": 0.8}
BROKEN = {"filename": "c.png", "problem": {"code": "image-corrupt", "detail": "It is."}}


@pytest.fixture
def birds(session):
    return make_learner(session)


def answered(learner, *results):
    return NewPrediction(
        id=new_id("prd"),
        learner_id=learner.id,
        version=3,
        results=[{"index": index, **result} for index, result in enumerate(results)],
        labels=[],
        has_unknown=False,
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
    )


def told(session, subscription):
    return [row.data for row in reversed(deliveries.list_of(session, subscription.id).items)]


def test_the_images_that_a_rule_wants_are_told_in_one_message(session, birds):
    pond = make_subscription(session, PREDICTED, known=False)
    everything = make_subscription(session, PREDICTED)
    one = answered(birds, HERON, UNKNOWN, BROKEN)
    telling_answers.predicted(session, [one, answered(birds, HERON)])
    assert told(session, pond) == [
        {
            "learner": "birds",
            "prediction": one.id,
            "version": 3,
            "answered_at": "2026-01-02T00:00:00+00:00",
            "results": [
                {
                    "index": 1,
                    "filename": "b.png",
                    "label": "egret",
                    "score": 0.4,
                    "known": False,
                    "novelty": 0.8,
                }
            ],
        }
    ]
    assert [len(data["results"]) for data in told(session, everything)] == [2, 1]


def test_each_hears_of_its_own_learner(session, birds):
    fish = make_learner(session, "fish")
    of_birds = make_subscription(session, PREDICTED, learner=birds)
    of_fish = make_subscription(session, PREDICTED, learner=fish)
    telling_answers.predicted(session, [answered(birds, HERON), answered(fish, UNKNOWN)])
    assert [data["learner"] for data in told(session, of_birds)] == ["birds"]
    assert [data["learner"] for data in told(session, of_fish)] == ["fish"]


def test_a_renamed_class_is_told_by_its_name(session, birds):
    pond = make_subscription(session, PREDICTED, labels=["grey heron"])
    classes.rename(session, birds, "heron", "grey heron")
    changed = {**HERON, "route": {"without": {"label": "egret", "score": 0.5}}}
    telling_answers.predicted(session, [answered(birds, changed, UNKNOWN)])
    [data] = told(session, pond)
    assert [(one["label"], one["without"]) for one in data["results"]] == [("grey heron", "egret")]
