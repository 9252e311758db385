"""Predictions are stored behind the requests' backs."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from threading import Event, Thread

import numpy as np
import pytest

from registry import reviews
from registry.errors import BlobStoreUnavailableError
from registry.ids import new_id
from registry.predictions import NewPrediction, kept_images, list_predictions
from registry.reviews import Wanted
from service.inference import prediction_writer
from service.inference.answers import Features
from service.inference.prediction_writer import PixelBudget, PredictionWriter
from service.intake.images import DecodedImage
from service.intake.small import make_small
from service.metrics import Metrics
from tests.factories import make_learner, make_pixels
from tests.waiting import within


def _prediction(learner_id):
    results = [{"index": 0, "label": "heron", "score": 0.9, "novelty": 0.1, "known": True}]
    return NewPrediction(new_id("prd"), learner_id, 1, results, ["heron"], False, datetime.now(UTC))


@pytest.fixture
def make_writer(session_factory, blobs, settings):
    def make(store=blobs, **changes):
        changed = settings.model_copy(update=changes)
        return PredictionWriter(session_factory, store, Metrics(), changed)

    return make


def test_the_writer_stores_in_the_background_and_survives_a_deleted_learner(
    session_factory, make_writer
):
    with session_factory.begin() as session:
        learner_id = make_learner(session).id
    writer = make_writer()
    image = DecodedImage(make_pixels())
    for owner in (learner_id, "lrn_gone", learner_id):
        assert writer.keeps(image)
        writer.put(_prediction(owner), {0: image})
    writer.start()
    writer.wait_written(5)
    writer.stop()
    with session_factory() as session:
        ids = [row.id for row in list_predictions(session, learner_id).items]
        assert len(ids) == 2
        assert kept_images(session, ids) == {prediction_id: [0] for prediction_id in ids}
    assert writer._metrics.dropped._value.get() == 1


def test_a_full_backlog_drops_and_counts(make_writer):
    writer = make_writer(prediction_backlog=2)
    for _ in range(5):
        writer.put(_prediction("lrn_x"))
    assert writer._metrics.dropped._value.get() == 3


def test_a_blob_store_that_fails_costs_images_but_no_answers(
    session_factory, blobs, make_writer, monkeypatch
):
    """It may fail when the images are put, and when it is asked whether it still has them."""

    def fail(*args, **kwargs):
        raise BlobStoreUnavailableError("tests")

    with session_factory.begin() as session:
        learner_id = make_learner(session).id
    for method in ("put_many", "missing"):
        with monkeypatch.context() as patched:
            patched.setattr(blobs, method, fail)
            writer = make_writer()
            image = DecodedImage(make_pixels())
            assert writer.keeps(image)
            writer.put(_prediction(learner_id), {0: image})
            writer.start()
            writer.stop()
        assert writer._metrics.images_not_kept._value.get() == 1
    with session_factory() as session:
        ids = [row.id for row in list_predictions(session, learner_id).items]
        assert len(ids) == 2
        assert kept_images(session, ids) == {}


def test_pixels_count_until_nobody_holds_them():
    first, second = (DecodedImage(make_pixels(index=i)) for i in range(2))
    budget = PixelBudget(first.pixels.nbytes)
    assert budget.admit(first)
    assert not budget.admit(second)
    del first  # as when its request failed
    assert budget.admit(second)


def test_a_reader_waits_for_its_own_writes_only(session_factory, make_writer):
    """Answers that keep coming must not hold up who asks for one given before."""
    with session_factory.begin() as session:
        learner_id = make_learner(session).id
    writer = make_writer()
    writer.put(_prediction(learner_id))
    writer.start()
    stop = Event()

    def go_on():
        while not stop.is_set():
            writer.put(_prediction(learner_id))
            time.sleep(0.001)

    thread = Thread(target=go_on)
    thread.start()
    try:
        with within(10):
            writer.wait_written(100_000)
    finally:
        stop.set()
        thread.join()
        writer.stop()


def test_answers_are_stored_together_and_at_once_for_who_wants_to_read_them(
    session_factory, make_writer, monkeypatch
):
    monkeypatch.setattr(prediction_writer, "GATHER_S", 3600.0)
    batches = []
    monkeypatch.setattr(
        prediction_writer,
        "add_predictions",
        lambda session, predictions: batches.append([one.id for one in predictions]),
    )
    writer = make_writer()
    answers = [_prediction("lrn_x") for _ in range(3)]
    writer.start()
    for answer in answers:
        writer.put(answer)

    with within(10):
        writer.wait_written(3600)
    writer.put(_prediction("lrn_x"))
    with within(10):
        writer.stop()

    assert batches[0] == [answer.id for answer in answers]
    assert [len(batch) for batch in batches] == [3, 1]


def test_what_a_person_may_be_asked_is_stored_with_the_image(session_factory, make_writer):
    with session_factory.begin() as session:
        learner_id = make_learner(session).id
    writer, image = make_writer(), DecodedImage(make_pixels())
    unsure = {"index": 0, "label": "heron", "score": 0.5, "novelty": 0.3, "known": True}
    unsure["top"] = [{"label": "heron", "score": 0.5}, {"label": "stork", "score": 0.4}]
    prediction = replace(_prediction(learner_id), results=[unsure])
    features = Features(np.ones(4, dtype=np.float16).tobytes(), "maker")
    assert writer.keeps(image)
    # Features of an image that is not kept are not either.
    writer.put(prediction, {0: image}, {0: features, 1: features})
    writer.start()
    writer.stop()
    with session_factory() as session:
        [one] = reviews.list_waiting(session, learner_id, Wanted(), limit=9)
    assert (one.key, one.version, one.usefulness) == ((prediction.id, 0), 1, 0.9)
    assert (one.reason.code, one.reason.rival) == ("between", "stork")
    assert (one.features, one.features_of) == (features.values, "maker")
    assert one.small == make_small(image.pixels)
