from collections import Counter

from registry import learners, pictures
from tests.factories import make_learner, make_task, publish_task


def test_shows_what_the_live_version_knows(session, blobs):
    learner = make_learner(session)
    assert pictures.held_out(session, learner.id, limit=9) == []
    first = make_task(session, blobs, classes=("heron", "egret"), n_train=6, n_eval=4)
    publish_task(session, first, classes=["heron", "egret"])
    make_task(session, blobs, classes=("crane",), n_train=2, n_eval=2)

    shown = pictures.of_labels(session, learner.id, ["heron", "crane"], each=2)
    assert [picture.label for picture in shown] == ["heron", "heron"]
    even = pictures.held_out(session, learner.id, limit=3)
    assert Counter(picture.label for picture in even) == {"heron": 1, "egret": 1}
    assert {(picture.width, picture.height) for picture in even} == {(32, 32)}


def test_names_learners_by_their_ids(session):
    birds, fish = make_learner(session, "birds"), make_learner(session, "fish")
    assert learners.names(session, {birds.id, fish.id, "lrn_nobody"}) == {
        birds.id: "birds",
        fish.id: "fish",
    }
