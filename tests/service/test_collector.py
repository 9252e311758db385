from datetime import UTC, datetime, timedelta

from registry import learners, predictions
from registry.ids import new_id
from registry.predictions import NewPrediction
from service.collector import Collector
from tests.factories import make_learner, make_task
from tests.waiting import wait_until


def test_images_of_a_deleted_learner_go_and_others_stay(session, session_factory, blobs):
    make_learner(session, "birds")
    make_learner(session, "fish")
    make_task(session, blobs, "birds")
    kept = make_task(session, blobs, "fish", classes=("cod",))
    session.commit()
    n_before = len(list(blobs.listing()))
    learners.delete_learner(session, "birds")
    session.commit()
    collector = Collector(
        session_factory, blobs, grace=timedelta(seconds=-1), first_s=0, every_s=0.05
    )
    collector.start()
    wait_until(lambda: len(list(blobs.listing())) < n_before)
    collector.stop()
    assert len(list(blobs.listing())) == kept.n_train + kept.n_eval


def test_old_predictions_go_in_batches(session, session_factory, blobs, monkeypatch):
    monkeypatch.setattr("service.collector.PRUNED", 2)
    learner = make_learner(session)
    new = [
        NewPrediction(
            new_id("prd"), learner.id, 1, [], [], False, datetime.now(UTC) - timedelta(days=days)
        )
        for days in (1, 31, 32, 33, 34, 35)
    ]
    predictions.add_predictions(session, new)
    session.commit()

    def left():
        with session_factory() as other:
            return len(predictions.list_predictions(other, learner.id).items)

    for days, n_left in ((0, 6), (30, 1)):
        collector = Collector(
            session_factory, blobs, keep_predictions_days=days, first_s=0, every_s=0.05
        )
        collector.start()
        wait_until(lambda: left() == n_left)  # noqa: B023 (called before the next round)
        collector.stop()
        assert left() == n_left
