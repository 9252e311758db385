from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from registry import feedback, learners, predictions, queue, tasks
from registry.errors import (
    FeedbackChangedError,
    FeedbackNotFoundError,
    FeedbackTakenError,
    ImageNotKeptError,
    InvalidCursorError,
    LabelConfusableError,
    PredictionNotFoundError,
    TaskNotRetryableError,
    UnknownResultError,
)
from registry.ids import new_id
from registry.paging import encode_cursor
from registry.predictions import NewImage, NewPrediction
from registry.tables import FeedbackRow
from tests.factories import make_image, make_learner, make_task, publish_task

KEY = "0123456789ab"


def make_prediction(session, blobs, learner, *images, label="heron", n_unusable=0):
    """Store a prediction with kept images, each said to be a heron; `(label, index)` of the factory each."""
    prediction_id = new_id("prd")
    results = [
        {"index": i, "filename": f"{i}.png", "label": label, "score": 0.5}
        for i in range(len(images))
    ]
    results += [
        {"index": len(images) + i, "filename": None, "problem": {"code": "image-empty"}}
        for i in range(n_unusable)
    ]
    new = NewPrediction(prediction_id, learner.id, 1, results, [label], False, datetime.now(UTC))
    predictions.add_predictions(session, [new])
    hashes = blobs.put_many(make_image(*image) for image in images)
    kept = [NewImage(prediction_id, i, sha256, 32, 32) for i, sha256 in enumerate(hashes)]
    assert predictions.add_images(session, kept, blobs) == 0
    return prediction_id


@pytest.fixture
def birds(session, blobs):
    """A learner whose head knows herons and egrets."""
    learner = make_learner(session)
    publish_task(session, make_task(session, blobs, n_train=2, n_eval=1))
    return learner


@pytest.fixture
def asked(session, blobs, birds):
    return make_prediction(session, blobs, birds, ("owl", 0), ("owl", 1), n_unusable=1)


def give(session, prediction_id, index=0, label="owl"):
    return feedback.give(session, prediction_id, index, label, key_id=KEY)


def said(session, prediction_id):
    given = feedback.of_predictions(session, [prediction_id]).get(prediction_id, [])
    return [(item.index, item.label, item.task_id) for item in given]


def fitting(session, learner, **changes):
    wanted = {"mode": "extend", "min_images": 1, "uploaded": (), "limit": 100, **changes}
    return feedback.fitting(session, learner, **wanted)


def add_task(session, chosen, mode="extend"):
    """Add a task that takes feedback, as a request does."""
    task = tasks.add_task(
        session,
        "birds",
        name=None,
        mode=mode,
        options={},
        config={},
        seed=0,
        classes=sorted({item.label for item in chosen}),
        n_train=len(chosen),
        n_eval=0,
    )
    feedback.take(session, task, chosen)
    return task


def test_the_last_word_counts_and_can_be_taken_back(session, birds, asked):
    give(session, asked, 1)
    give(session, asked, 0, "egret")
    give(session, asked, 0, "owl")
    assert said(session, asked) == [(0, "owl", None), (1, "owl", None)]
    feedback.withdraw(session, asked, 0)
    assert said(session, asked) == [(1, "owl", None)]
    with pytest.raises(FeedbackNotFoundError):
        feedback.withdraw(session, asked, 0)


def test_only_kept_images_with_an_answer_take_feedback(session, blobs, birds, asked):
    with pytest.raises(PredictionNotFoundError):
        give(session, "prd_nowhere")
    for index in (2, 3, -1):
        with pytest.raises(UnknownResultError):
            give(session, asked, index)
    unkept = NewPrediction(
        new_id("prd"), birds.id, 1, [{"index": 0, "label": "a"}], [], False, datetime.now(UTC)
    )
    predictions.add_predictions(session, [unkept])
    with pytest.raises(ImageNotKeptError):
        give(session, unkept.id)


def test_a_label_that_could_not_be_learned_beside_the_others_is_refused(session, birds, asked):
    with pytest.raises(LabelConfusableError):
        give(session, asked, 0, "Heron")
    give(session, asked, 0, "owl")
    with pytest.raises(LabelConfusableError):
        give(session, asked, 1, "OWL")
    give(session, asked, 0, "Owl")  # its own old spelling does not count


def test_what_fits_the_mode_is_taken_oldest_first(session, blobs, birds, asked):
    other = make_prediction(session, blobs, birds, ("egret", 7), ("wren", 0))
    for place, (prediction_id, index, label) in enumerate(
        [(other, 1, "wren"), (asked, 0, "owl"), (other, 0, "egret"), (asked, 1, "owl")]
    ):
        give(session, prediction_id, index, label)
        session.execute(
            update(FeedbackRow)
            .where(FeedbackRow.prediction_id == prediction_id, FeedbackRow.index == index)
            .values(created_at=datetime(2026, 1, 1, place, tzinfo=UTC))
        )

    def labels(**changes):
        return [item.label for item in fitting(session, birds, **changes)]

    assert labels() == ["wren", "owl", "egret", "owl"]
    assert labels(mode="new_classes") == ["wren", "owl", "owl"]
    # One image of a class that is known is enough.
    assert labels(min_images=2) == ["owl", "egret", "owl"]
    assert labels(min_images=2, mode="new_classes") == ["owl", "owl"]
    assert labels(min_images=2, uploaded={"wren"}) == ["wren", "owl", "egret", "owl"]
    assert labels(limit=2) == ["wren", "owl"]
    assert fitting(session, birds)[0].filename == "1.png"


def test_copies_of_one_image_are_not_enough_for_a_class(session, blobs, birds):
    twice = make_prediction(session, blobs, birds, ("owl", 0), ("owl", 0))
    give(session, twice, 0)
    give(session, twice, 1)
    assert fitting(session, birds, min_images=2) == []


def test_taken_feedback_is_past_changing_until_its_task_is_cancelled(session, birds, asked):
    give(session, asked)
    task = add_task(session, fitting(session, birds))
    assert task.n_feedback == 1
    assert said(session, asked) == [(0, "owl", task.id)]
    assert fitting(session, birds) == []
    give(session, asked, 0, "owl")  # nothing new
    with pytest.raises(FeedbackTakenError):
        give(session, asked, 0, "egret")
    with pytest.raises(FeedbackTakenError):
        feedback.withdraw(session, asked, 0)
    tasks.request_cancel(session, task.id)
    assert said(session, asked) == [(0, "owl", None)]
    assert len(fitting(session, birds)) == 1
    give(session, asked, 0, "egret")
    assert said(session, asked) == [(0, "egret", None)]


def test_two_tasks_do_not_take_the_same_feedback(session, birds, asked):
    give(session, asked)
    chosen = fitting(session, birds)
    add_task(session, chosen)
    with pytest.raises(FeedbackChangedError):
        add_task(session, chosen)


def test_a_task_does_not_take_what_was_said_otherwise_meanwhile(session, birds, asked):
    give(session, asked)
    chosen = fitting(session, birds)
    give(session, asked, 0, "egret")
    with pytest.raises(FeedbackChangedError):
        add_task(session, chosen)


@pytest.mark.parametrize("changed", ["replaced", "withdrawn", "taken", "left"])
def test_a_task_is_retried_only_with_the_feedback_it_took(session, blobs, birds, asked, changed):
    give(session, asked)
    chosen = fitting(session, birds)
    task = make_task(session, blobs, classes=("owl",), n_train=2, n_eval=0)
    feedback.take(session, task, chosen)
    tasks.request_cancel(session, task.id)
    if changed == "replaced":
        give(session, asked, 0, "wren")
    elif changed == "withdrawn":
        feedback.withdraw(session, asked, 0)
    elif changed == "taken":
        add_task(session, fitting(session, birds))
    if changed == "left":
        assert tasks.retry_task(session, task.id).status == "queued"
        assert said(session, asked) == [(0, "owl", task.id)]
    else:
        with pytest.raises(TaskNotRetryableError, match="feedback"):
            tasks.retry_task(session, task.id)


def test_pages_of_feedback_newest_first(session, blobs, birds, asked):
    fish = make_learner(session, "fish")
    elsewhere = make_prediction(session, blobs, fish, ("cod", 0))
    give(session, elsewhere, 0, "cod")
    more = make_prediction(session, blobs, birds, ("wren", 0), ("wren", 1), ("wren", 2))
    for index in range(3):
        give(session, more, index, "wren")
    give(session, asked)
    seen, cursor = [], None
    while True:
        page = feedback.list_feedback(session, birds.id, limit=3, cursor=cursor)
        seen += [(item.created_at, item.prediction_id, item.index) for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 4
    assert seen == sorted(seen, reverse=True)
    add_task(session, [item for item in fitting(session, birds) if item.label == "owl"])
    taken = feedback.list_feedback(session, birds.id, pending=False).items
    assert [item.prediction_id for item in taken] == [asked]
    assert len(feedback.list_feedback(session, birds.id, pending=True).items) == 3
    for made_up in (("noon", "prd_x", "1"), ("2026-01-01", "prd_x", "one")):
        with pytest.raises(InvalidCursorError):
            feedback.list_feedback(session, birds.id, cursor=encode_cursor(*made_up))


def age(session, prediction_id, days):
    row = predictions.get_prediction(session, prediction_id)
    row.created_at = datetime.now(UTC) - timedelta(days=days)
    session.flush()


def left(session, learner):
    return {row.id for row in predictions.list_predictions(session, learner.id).items}


def test_old_predictions_go_unless_feedback_is_still_to_be_learned(session, blobs, birds):
    young, plain, pending, failed, learning, learned = (
        make_prediction(session, blobs, birds, ("owl", i), ("owl", 50 + i)) for i in range(6)
    )
    for prediction_id in (pending, failed, learning, learned):
        give(session, prediction_id)
    by_prediction = {item.prediction_id: item for item in fitting(session, birds)}
    first = add_task(session, [by_prediction[learned]])
    publish_task(session, first)
    tasks.request_cancel(session, add_task(session, [by_prediction[failed]]).id)
    add_task(session, [by_prediction[learning]])
    for prediction_id in (plain, pending, failed, learning, learned):
        age(session, prediction_id, 31)
    age(session, young, 29)
    keep = timedelta(days=30)
    assert predictions.prune(session, keep=keep, limit=1) == 1
    assert predictions.prune(session, keep=keep, limit=10) == 1
    assert predictions.prune(session, keep=keep, limit=10) == 0
    assert left(session, birds) == {young, pending, failed, learning}
    kept = predictions.kept_images(session, [young, plain])
    assert kept == {young: [0, 1]}


def test_feedback_given_while_predictions_are_pruned(session, session_factory, birds, asked):
    """The prediction waits to be deleted, or is gone: never is feedback taken in that goes with it."""
    age(session, asked, 40)
    session.commit()
    with session_factory() as other:
        give(other, asked)
        assert predictions.prune(session, keep=timedelta(days=30), limit=10) == 0
        session.commit()
        other.commit()
    assert predictions.prune(session, keep=timedelta(days=30), limit=10) == 0
    assert said(session, asked) == [(0, "owl", None)]


def test_history_by_feedback(session, blobs, birds, asked):
    plain = make_prediction(session, blobs, birds, ("owl", 5))
    give(session, asked)

    def ids(*, feedback):
        page = predictions.list_predictions(session, birds.id, feedback=feedback)
        return [row.id for row in page.items]

    assert ids(feedback=True) == [asked]
    assert ids(feedback=False) == [plain]
    assert set(ids(feedback=None)) == {asked, plain}


def test_an_image_whose_blob_is_gone_is_not_kept(session, blobs, birds, asked):
    image = NewImage(asked, 2, "0" * 64, 32, 32)
    assert predictions.add_images(session, [image], blobs) == 1
    assert predictions.kept_images(session, [asked]) == {asked: [0, 1]}


def test_a_failed_attempt_gives_feedback_back(session, birds, asked):
    give(session, asked)
    task = add_task(session, fitting(session, birds))
    claimed = queue.claim(session, task.id, "w", 30)
    assert said(session, asked) == [(0, "owl", task.id)]
    queue.fail_task(session, task.id, claimed.token, "diverged", "It did.")
    assert said(session, asked) == [(0, "owl", None)]


def test_a_deleted_learner_takes_its_feedback_along(session, birds, asked):
    give(session, asked)
    learners.delete_learner(session, "birds")
    assert session.query(FeedbackRow).count() == 0
