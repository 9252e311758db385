"""Prediction jobs as rows: who has one, what is answered, and what becomes of stored images."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, update

from registry import learners, prediction_jobs, predictions, stored_images
from registry.errors import (
    BlobMissingError,
    FencedError,
    NothingToPredictError,
    PredictionJobEndedError,
    PredictionJobNotFoundError,
)
from registry.ids import new_id
from registry.prediction_jobs import MAX_LOST, JobAnswer
from registry.predictions import NewImage, NewPrediction
from registry.references import addressed
from registry.stored_images import NewJobImage, StoredImages
from registry.tables import PredictionImageRow, PredictionJobImageRow, PredictionJobRow, SampleRow
from registry.unlearning import erase_unlearned
from tests.factories import (
    hold_unlearning,
    make_image,
    make_job,
    make_learner,
    make_task,
    publish_task,
)

HERON = {"label": "heron", "score": 0.9, "known": True}
EGRET = {"label": "egret", "score": 0.6, "known": False}


@pytest.fixture
def learner(session):
    return make_learner(session)


@pytest.fixture
def add(session, learner, blobs):
    def add_job(n=3, images=None, **fields):
        hashes = blobs.put_many([make_image("heron", i) for i in range(n)])
        images = images or [NewJobImage(f"{i}.png", sha256) for i, sha256 in enumerate(hashes)]
        return make_job(session, blobs, learner, images, **{"key_id": "k"} | fields)

    return add_job


def keep_prediction(session, learner_id, blobs, *results, version=1, minute=0):
    prediction_id = new_id("prd")
    new = NewPrediction(
        id=prediction_id,
        learner_id=learner_id,
        version=version,
        results=[{"index": i, **result} for i, result in enumerate(results)],
        labels=sorted({result["label"] for result in results}),
        has_unknown=any(not result["known"] for result in results),
        created_at=datetime(2026, 1, 1, 12, minute, tzinfo=UTC),
    )
    predictions.add_predictions(session, [new])
    hashes = blobs.put_many(make_image("heron", 100 * minute + i) for i in range(len(results)))
    images = [NewImage(prediction_id, i, sha256, 32, 32) for i, sha256 in enumerate(hashes)]
    predictions.add_images(session, images, blobs)
    return prediction_id


def claim(session):
    return prediction_jobs.claim_next(session, 60)


def answer_all(session, job, result=HERON):
    waiting = prediction_jobs.waiting_images(session, job.id, limit=100)
    answers = [JobAnswer(image.index, result) for image in waiting]
    return prediction_jobs.give_back(session, job, answers)


def test_its_images_are_answered_in_parts_and_counted(session, add):
    row = add(n=4)
    job = claim(session)
    first, second, *_ = prediction_jobs.waiting_images(session, job.id, limit=100)
    problem = {"problem": {"code": "image-gone", "detail": "Gone."}}
    prediction_jobs.give_back(
        session, job, [JobAnswer(first.index, EGRET), JobAnswer(second.index, problem)]
    )
    assert (row.status, row.n_done, row.n_problems, row.n_unknown) == ("running", 2, 1, 1)
    again = claim(session)
    assert again.token > job.token
    assert [image.index for image in prediction_jobs.waiting_images(session, job.id, limit=9)] == [2, 3]  # fmt: skip
    answer_all(session, again)
    assert (row.status, row.n_done) == ("succeeded", 4)
    assert row.finished_at is not None
    assert prediction_jobs.count_labels(session, row.id) == {"heron": 2, "egret": 1}
    assert claim(session) is None


def test_what_came_unusable_is_done_already(session, add, blobs):
    refused = NewJobImage("b.png", problem={"code": "image-empty", "detail": "Empty."})
    row = add(images=[NewJobImage("a.png", blobs.put(make_image())), refused])
    assert (row.n_images, row.n_done, row.n_problems) == (2, 1, 1)
    answer_all(session, claim(session))
    assert row.status == "succeeded"


def test_a_job_has_images_whose_blobs_are_there(session, add, learner, blobs):
    with pytest.raises(BlobMissingError):
        add(images=[NewJobImage("a.png", "0" * 64)])
    with pytest.raises(NothingToPredictError):
        make_job(session, blobs, learner, [], source="samples")


def test_jobs_take_turns_and_nobody_has_one_twice(session, add):
    first, second = add().id, add().id
    jobs = [claim(session), claim(session)]
    assert [job.id for job in jobs] == [first, second]
    assert claim(session) is None
    for job in reversed(jobs):
        prediction_jobs.give_back(session, job, [])
        # Within one transaction the clock stands still.
        served = PredictionJobRow.id == job.id
        later = func.now() + timedelta(seconds=jobs.index(job) == 0)
        session.execute(update(PredictionJobRow).where(served).values(served_at=later))
    assert claim(session).id == second


def test_a_lost_service_is_taken_over_from_and_can_do_no_harm(session, add):
    add()
    lost = prediction_jobs.claim_next(session, -1)
    taken = claim(session)
    assert taken.id == lost.id
    for late in (
        lambda: answer_all(session, lost),
        lambda: prediction_jobs.fail(session, lost, "internal", "No."),
        lambda: prediction_jobs.renew(session, lost, 60),
    ):
        with pytest.raises(FencedError):
            late()
    prediction_jobs.renew(session, taken, -1)
    assert claim(session).id == taken.id


def test_one_that_ends_its_services_is_given_up(session, add):
    row = add()
    other = add(key_id="other")
    for _ in range(MAX_LOST):
        assert prediction_jobs.claim_next(session, -1).id == row.id
        served = PredictionJobRow.id == other.id
        session.execute(update(PredictionJobRow).where(served).values(served_at=func.now()))
    assert claim(session).id == other.id
    session.refresh(row)
    assert (row.status, row.error["code"]) == ("failed", "service-lost")


def test_answers_between_make_a_job_trusted_again(session, add):
    row = add()
    for _ in range(MAX_LOST + 1):
        prediction_jobs.claim_next(session, -1)
        prediction_jobs.give_back(session, claim(session), [])
    assert row.status == "running"


def test_answers_given_back_twice_count_once(session, add):
    row = add()
    job = claim(session)
    first = [JobAnswer(0, HERON), JobAnswer(1, EGRET)]
    prediction_jobs.give_back(session, job, first)
    prediction_jobs.give_back(session, job, [JobAnswer(0, EGRET), *first[1:]])
    assert (row.n_done, row.n_unknown, row.status) == (2, 1, "running")
    labels = [image.label for image in prediction_jobs.list_images(session, row.id).items]
    assert labels == ["heron", "egret"]


def test_services_that_are_known_to_be_gone_are_not_waited_for(session, add):
    add()
    held = claim(session)
    assert claim(session) is None
    prediction_jobs.end_leases(session)
    assert claim(session).id == held.id


def test_a_cancelled_or_deleted_job_takes_no_answers(session, add):
    row = add()
    job = claim(session)
    prediction_jobs.cancel(session, row.id)
    with pytest.raises(FencedError):
        answer_all(session, job)
    with pytest.raises(PredictionJobEndedError, match="cancelled"):
        prediction_jobs.cancel(session, row.id)
    other = add()
    job = claim(session)
    prediction_jobs.delete_job(session, other.id)
    session.flush()
    with pytest.raises(FencedError):
        answer_all(session, job)
    with pytest.raises(PredictionJobNotFoundError):
        prediction_jobs.get_job(session, other.id)
    assert session.query(PredictionJobImageRow).filter_by(job_id=other.id).count() == 0


def test_jobs_of_a_key_that_move_are_counted(session, add):
    add()
    add(key_id="other")
    assert prediction_jobs.count_unfinished(session, "k") == 1
    answer_all(session, claim(session))
    assert prediction_jobs.count_unfinished(session, "k") == 0


def test_old_ones_that_ended_are_pruned(session, add):
    ended, moving = add(), add()
    prediction_jobs.cancel(session, ended.id)
    keep = timedelta(days=1)
    assert prediction_jobs.prune(session, keep=keep, limit=10) == 0
    ages_ago = {"created_at": func.now() - timedelta(days=9), "finished_at": None}
    session.execute(update(PredictionJobRow).values(**ages_ago))
    gone = update(PredictionJobRow).where(PredictionJobRow.id == ended.id)
    session.execute(gone.values(finished_at=func.now() - timedelta(days=2)))
    assert prediction_jobs.prune(session, keep=keep, limit=10) == 1
    assert prediction_jobs.get_job(session, moving.id)


def test_its_blobs_are_referred_to_as_long_as_it_keeps_them(session, add):
    row = add(n=2)
    blobs_of = {image.blob_sha256 for image in session.query(PredictionJobImageRow)}
    assert addressed(session) >= blobs_of
    job = claim(session)
    answers = [JobAnswer(i, HERON) for i in range(2)]
    prediction_jobs.give_back(session, job, answers, keeps_images=False)
    session.flush()
    assert not addressed(session) & blobs_of
    assert row.status == "succeeded"


@pytest.mark.parametrize(
    ("result", "changed"),
    [
        (HERON, False),
        (EGRET, True),
        ({**HERON, "known": False}, True),
        ({"problem": {"code": "image-gone", "detail": "Gone."}}, None),
    ],
)
def test_an_answer_is_compared_with_the_one_before(session, add, learner, blobs, result, changed):
    keep_prediction(session, learner.id, blobs, HERON)
    images = stored_images.find_predicted(session, learner.id, StoredImages(), limit=9)
    assert images[0].before == {**HERON, "version": 1}
    row = add(images=images)
    answer_all(session, claim(session), result)
    [image] = prediction_jobs.list_images(session, row.id).items
    assert image.is_changed is changed
    assert row.n_changed == (changed is True)


def test_a_stored_image_that_is_deleted_meanwhile_is_not_kept_for_a_job(
    session, add, learner, blobs
):
    prediction_id = keep_prediction(session, learner.id, blobs, HERON, EGRET)
    publish_task(session, make_task(session, blobs))
    stored = [
        *stored_images.find_predicted(session, learner.id, StoredImages(), limit=9),
        *stored_images.find_taught(session, learner.id, StoredImages(split="eval"), limit=1),
    ]
    row = add(images=stored)
    before = prediction_jobs.waiting_images(session, row.id, limit=9)
    assert all(image.blob_sha256 for image in before)
    session.delete(session.get(PredictionImageRow, (prediction_id, 0)))
    session.query(SampleRow).delete()
    session.flush()
    after = prediction_jobs.waiting_images(session, row.id, limit=9)
    assert [image.blob_sha256 is None for image in after] == [True, False, True]
    assert not addressed(session) & {before[0].blob_sha256, before[2].blob_sha256}


def test_newest_predictions_first_up_to_a_limit(session, learner, blobs):
    ids = [keep_prediction(session, learner.id, blobs, HERON, minute=i) for i in range(3)]
    found = stored_images.find_predicted(session, learner.id, StoredImages(), limit=2)
    assert [image.prediction_id for image in found] == ids[:0:-1]
    other = make_learner(session, "fish")
    assert stored_images.find_predicted(session, other.id, StoredImages(), limit=9) == []
    assert stored_images.pick_predicted(session, other.id, [(ids[0], 0)]) == []


def test_unlearning_leaves_no_copy_with_a_job(session, add, learner, blobs):
    task = make_task(session, blobs)
    version = publish_task(session, task)
    sample = session.query(SampleRow).filter_by(label="egret").first()
    row = add(images=[NewJobImage("a.png", sample.blob_sha256)], version=version.number)
    answer_all(session, claim(session), EGRET)
    unlearning = hold_unlearning(session, learner.name, classes=["egret"])
    learned = publish_task(session, make_task(session, blobs, classes=("crane",)))
    erase_unlearned(session, unlearning, learned)
    session.expire_all()
    [image] = prediction_jobs.list_images(session, row.id).items
    assert image.blob_sha256 is None
    assert image.label == "egret"
    assert learners.get_learner(session, "birds")
