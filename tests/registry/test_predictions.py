from datetime import UTC, datetime, timedelta

import pytest

from registry import predictions
from registry.errors import InvalidCursorError, PredictionNotFoundError
from registry.ids import new_id
from registry.paging import encode_cursor
from registry.predictions import NewPrediction
from tests.factories import make_learner

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def prediction(learner_id, minute, label="heron", *, has_unknown=False):
    return NewPrediction(
        id=new_id("prd"),
        learner_id=learner_id,
        version=1,
        results=[{"index": 0, "label": label, "score": 0.5}],
        labels=[label],
        has_unknown=has_unknown,
        created_at=NOON + timedelta(minutes=minute),
    )


@pytest.fixture
def learner_id(session):
    learner = make_learner(session)
    other = make_learner(session, "fish")
    new = [
        prediction(learner.id, 0),
        prediction(learner.id, 1, "egret"),
        prediction(learner.id, 2, has_unknown=True),
        # Two of the same moment, as one batch writes them.
        prediction(learner.id, 3, "egret"),
        prediction(learner.id, 3, "egret"),
        prediction(other.id, 9, "cod"),
    ]
    predictions.add_predictions(session, new)
    return learner.id


def test_newest_first_in_pages(session, learner_id):
    seen, cursor = [], None
    while True:
        page = predictions.list_predictions(session, learner_id, limit=2, cursor=cursor)
        seen += [(row.created_at, row.id) for row in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(seen) == 5
    assert seen == sorted(seen, reverse=True)


def test_filters(session, learner_id):
    def minutes(**filters):
        page = predictions.list_predictions(session, learner_id, **filters)
        return [(row.created_at - NOON).seconds // 60 for row in page.items]

    assert minutes(label="egret") == [3, 3, 1]
    assert minutes(label="cod") == []
    assert minutes(known=True) == [3, 3, 1, 0]
    assert minutes(known=False) == [2]
    assert minutes(since=NOON + timedelta(minutes=2)) == [3, 3, 2]


def test_get(session, learner_id):
    row = predictions.list_predictions(session, learner_id, limit=1).items[0]
    assert predictions.get_prediction(session, row.id).results == row.results
    with pytest.raises(PredictionNotFoundError):
        predictions.get_prediction(session, "prd_x")


def test_a_made_up_cursor_is_refused(session, learner_id):
    with pytest.raises(InvalidCursorError):
        predictions.list_predictions(session, learner_id, cursor=encode_cursor("noon", "prd_x"))


def test_nothing_to_store(session):
    predictions.add_predictions(session, [])
