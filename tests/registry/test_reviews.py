from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, func, select, text

from registry import feedback, prediction_jobs, reviews, stored_images
from registry.errors import FeedbackNotFoundError
from registry.prediction_jobs import JobAnswer
from registry.reviews import Look, Wanted
from registry.stored_images import StoredImages
from registry.tables import PREDICTED, PredictionImageRow, PredictionRow, ReviewRow
from tests.factories import keep_images, make_job, make_learner, make_task, publish_task

HERON = {"label": "heron", "score": 0.95, "novelty": 0.1, "known": True}


@pytest.fixture
def birds(session, blobs):
    learner = make_learner(session)
    publish_task(session, make_task(session, blobs, n_train=2, n_eval=1))
    publish_task(session, make_task(session, blobs, classes=("stork",), n_train=2, n_eval=1))
    return learner


def waiting(session, learner, **wanted):
    found = reviews.list_waiting(session, learner.id, Wanted(**wanted), limit=100)
    return [one.key for one in found]


def test_the_most_useful_come_first_and_sure_ones_only_when_asked_for(session, blobs, birds):
    sure = keep_images(session, blobs, birds, ("heron",), score=0.97)
    near = keep_images(session, blobs, birds, ("heron",), score=0.45)
    unknown = keep_images(session, blobs, birds, ("heron",), known=False, novelty=0.98)
    nearer = keep_images(session, blobs, birds, ("heron",), score=0.445)
    keep_images(session, blobs, make_learner(session, "fish"), ("cod",))
    assert waiting(session, birds) == [(nearer, 0), (near, 0), (unknown, 0)]
    assert waiting(session, birds, sure=True)[-1] == (sure, 0)
    assert reviews.count_waiting(session, birds.id, most=100) == 3
    assert reviews.count_waiting(session, birds.id, most=2) == 2


def test_filters(session, blobs, birds):
    heron = keep_images(session, blobs, birds, ("heron",), score=0.5, novelty=0.3)
    egret = keep_images(session, blobs, birds, ("egret",), score=0.4, novelty=0.6, version=2)
    strange = keep_images(session, blobs, birds, ("egret",), known=False, novelty=0.98)

    def ids(**wanted):
        return {key[0] for key in waiting(session, birds, **wanted)}

    assert ids(label="heron") == {heron}
    assert ids(known=False) == {strange}
    assert ids(known=True) == {heron, egret}
    assert ids(max_score=0.45) == {egret}
    assert ids(min_score=0.45) == {heron, strange}
    assert ids(min_novelty=0.5, max_novelty=0.9) == {egret}
    assert ids(version=2) == {egret}
    now = datetime.now(UTC)
    assert ids(since=now) == set()
    assert ids(until=now, since=now - timedelta(hours=1)) == {heron, egret, strange}


def test_feedback_settles_an_image_and_taking_it_back_lets_it_wait_again(session, blobs, birds):
    asked = keep_images(session, blobs, birds, ("heron", "heron"))
    feedback.give(session, asked, 0, "egret", key_id="k")
    assert waiting(session, birds) == [(asked, 1)]
    feedback.withdraw(session, asked, 0)
    assert len(waiting(session, birds)) == 2
    with pytest.raises(FeedbackNotFoundError):
        feedback.withdraw(session, asked, 0)


def test_it_goes_with_its_image_and_with_its_prediction(session, blobs, birds):
    asked = keep_images(session, blobs, birds, ("heron", "heron"), features=[[1, 0], [1, 0]])
    other = keep_images(session, blobs, birds, ("heron",))
    session.execute(delete(PredictionImageRow).where(PredictionImageRow.index == 1))
    assert set(waiting(session, birds)) == {(asked, 0), (other, 0)}
    session.execute(delete(PredictionRow).where(PredictionRow.id == asked))
    assert waiting(session, birds) == [(other, 0)]
    assert session.scalar(select(func.count()).select_from(ReviewRow)) == 1


def test_features_are_kept_only_of_what_is_worth_a_look(session, blobs, birds):
    keep_images(session, blobs, birds, ("heron",), score=0.97, features=[[1, 0]])
    keep_images(session, blobs, birds, ("heron",), known=False, novelty=1, features=[[1, 0]])
    rows = session.scalars(select(ReviewRow).order_by(ReviewRow.usefulness))
    assert [row.features is None for row in rows] == [True, False]


def again(session, blobs, learner, version, result, look=None):
    """Let a job of a version answer every kept image so."""
    found = stored_images.find_predicted(session, learner.id, StoredImages(), limit=9)
    job = make_job(session, blobs, learner, found, source=PREDICTED, version=version)
    claimed = prediction_jobs.claim_next(session, 60)
    answers = [JobAnswer(i, result, look) for i in range(job.n_images)]
    prediction_jobs.give_back(session, claimed, answers)
    session.expire_all()
    return session.scalars(select(ReviewRow)).one()


def test_a_newer_version_that_says_otherwise_makes_it_worth_a_look(session, blobs, birds):
    keep_images(session, blobs, birds, ("egret",), score=0.98)
    assert waiting(session, birds) == []
    row = again(session, blobs, birds, 2, HERON, Look(b"x" * 216))
    assert (row.label, row.version, row.other_label, row.other_version) == ("heron", 2, "egret", 1)
    assert row.small == b"x" * 216
    [one] = reviews.list_waiting(session, birds.id, Wanted(), limit=9)
    assert (one.reason.code, one.reason.rival, one.reason.version) == ("versions", "egret", 1)


def test_an_older_version_is_only_a_second_opinion(session, blobs, birds):
    keep_images(session, blobs, birds, ("egret",), score=0.98, version=2)
    row = again(session, blobs, birds, 1, HERON, Look(b"x" * 216))
    assert (row.label, row.version, row.other_label, row.other_version) == ("egret", 2, "heron", 1)
    assert row.small != b"x" * 216
    agrees = again(session, blobs, birds, 1, HERON | {"label": "egret"})
    assert (agrees.other_label, agrees.other_version) == (None, None)
    assert waiting(session, birds) == []


def test_that_a_newer_version_knows_it_is_no_disagreement(session, blobs, birds):
    keep_images(session, blobs, birds, ("egret",), known=False, novelty=0.99)
    row = again(session, blobs, birds, 2, HERON)
    assert (row.label, row.is_known, row.other_label) == ("heron", True, None)
    assert waiting(session, birds) == []


def test_waiting_images_are_found_by_an_index(session, blobs, birds):
    """Whatever the number of those that are settled."""
    keep_images(session, blobs, birds, ["heron"] * 3)
    session.execute(text("SET LOCAL enable_seqscan = off"))
    plan = session.execute(
        text(
            "EXPLAIN SELECT prediction_id FROM reviews WHERE learner_id = 'x' AND settled IS NULL "
            "AND usefulness >= 0.5 ORDER BY usefulness DESC, prediction_id DESC, index DESC LIMIT 9"
        )
    )
    told = "\n".join(line for (line,) in plan)
    assert "Index" in told
    assert "ix_reviews_waiting" in told
    assert "Sort" not in told
