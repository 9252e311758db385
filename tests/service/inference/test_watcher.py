"""Loading, swapping and storing behind the requests' backs."""

import time
from datetime import UTC, datetime
from threading import Event, Thread

import pytest
from fastapi.testclient import TestClient

from models.errors import CheckpointError
from registry import versions
from registry.errors import BlobStoreUnavailableError
from registry.ids import new_id
from registry.postgres.database import make_engine, make_session_factory
from registry.predictions import NewPrediction, kept_images, list_predictions
from service.app import create_app
from service.inference.history import PixelBudget, PredictionWriter
from service.intake.images import DecodedImage
from service.metrics import Metrics
from tests.factories import make_learner, make_pixels
from tests.service.conftest import version_of, wait_until
from tests.waiting import within


def test_a_service_that_starts_without_its_database_says_so_soon(settings, blobs):
    engine = make_engine("postgresql://nobody@127.0.0.1:1/nothing", application_name="tests")
    app = create_app(settings, make_session_factory(engine), blobs)
    headers = {"Authorization": "Bearer fil_000000000000_secret", "Content-Type": "image/png"}
    with TestClient(app, headers=headers, raise_server_exceptions=False) as client:
        with within(3):
            answer = client.post("/v1/learners/birds/predictions", content=b"x")
        assert (answer.status_code, answer.json()["code"]) == (503, "storage-unavailable")
        assert answer.headers["Retry-After"]
        assert client.get("/readyz").status_code == 503
        assert client.get("/livez").status_code == 200


def test_a_learner_that_is_not_loaded_is_not_waited_for_while_the_database_is_away(
    client, taught, app
):
    on = app.state.collaborators
    on.store.retain(set())
    on.watcher.stop()
    on.watcher._note_database(is_up=False)
    answer = client.post(
        f"/v1/learners/{taught}/predictions", content=b"x", headers={"Content-Type": "image/png"}
    )
    assert (answer.status_code, answer.json()["code"]) == (503, "storage-unavailable")


def test_a_damaged_version_is_not_served_and_the_last_good_one_goes_on(
    client, taught, teach, app, blobs, session_factory, monkeypatch
):
    watcher = app.state.collaborators.watcher
    monkeypatch.setattr("service.inference.snapshots.RETRY_S", 0.1)
    load, tries = watcher._loader._load, []

    def fail(address):
        tries.append(address.version)
        raise OSError("disk")

    watcher._loader._load = fail
    assert teach(("owl", "wren"))["version"] == 2
    wait_until(lambda: watcher.failing() == {taught: 2})
    assert version_of(client, taught) == 1
    assert client.get("/readyz").json()["failing"] == [{"learner": taught, "version": 2}]
    damaged = client.post(
        f"/v1/learners/{taught}/predictions?version=2",
        content=b"x",
        headers={"Content-Type": "image/png"},
    )
    assert (damaged.status_code, damaged.json()["code"]) == (503, "version-damaged")
    watcher._loader._load = load
    wait_until(lambda: version_of(client, taught) == 2)
    wait_until(lambda: watcher.failing() == {})


def test_a_version_that_cannot_be_loaded_is_not_tried_by_every_request(client, taught, app):
    loader, tries = app.state.collaborators.watcher._loader, []

    def fail(address):
        tries.append(address.version)
        raise CheckpointError("This version was learned on other weights.")

    loader._load = fail
    app.state.collaborators.store.retain(set())
    wait_until(lambda: app.state.collaborators.watcher.failing() == {taught: 1})
    url = f"/v1/learners/{taught}/predictions"
    for _ in range(5):
        answer = client.post(url, content=b"x", headers={"Content-Type": "image/png"})
        assert (answer.status_code, answer.json()["code"]) == (503, "version-damaged")
        assert "other weights" in answer.json()["detail"]
    assert tries == [1]


def test_a_flipped_bit_in_an_artifact_is_found(client, taught, app, blobs, session_factory):
    with session_factory() as session:
        [live] = versions.live_versions(session)
    path = blobs._path(live.manifest_sha256)
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    store = app.state.collaborators.store
    store.retain(set())
    wait_until(lambda: app.state.collaborators.watcher.failing() == {taught: 1})
    assert version_of(client, taught) is None


def _prediction(learner_id):
    return NewPrediction(new_id("prd"), learner_id, 1, [], [], False, datetime.now(UTC))


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
