from datetime import timedelta

from registry import learners
from service.collector import Collector
from tests.factories import make_learner, make_task
from tests.service.conftest import wait_until


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
