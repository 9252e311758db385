from registry.recent import recent_learner
from tests.factories import make_learner, make_task


def test_the_learner_of_the_newest_task_is_likely_to_be_the_next(session, blobs):
    assert recent_learner(session) is None
    birds = make_learner(session, "birds")
    fish = make_learner(session, "fish")
    assert recent_learner(session).id == fish.id
    make_task(session, blobs, "birds")
    assert recent_learner(session).id == birds.id
    make_task(session, blobs, "fish")
    make_learner(session, "moths")
    assert recent_learner(session).id == fish.id
