"""Prediction jobs beside requests: in turns, through stops and kills, with whatever goes wrong with one image."""

import signal
from threading import Event

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func

from models.strategies.base import Strategy
from registry import failpoints, keys, prediction_jobs
from registry.errors import DatabaseUnavailableError
from registry.tables import PredictionJobImageRow, PredictionJobRow, ReviewRow, VersionRow
from registry.usefulness import WORTH
from service.app import create_app
from service.inference import job_runner
from tests.factories import make_image
from tests.service.api import predict
from tests.service.processes import Served, post_task
from tests.service.second_runner import second_runner
from tests.waiting import wait_until

JOBS = "/v1/learners/birds/prediction-jobs"


def post(client, n, **params):
    files = [("images", (f"{i}.png", make_image("heron", i), "image/png")) for i in range(n)]
    answer = client.post(JOBS, files=files, params=params)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def ended(client, job_id):
    return client.get(f"/v1/prediction-jobs/{job_id}?wait=30").json()


def labels(client, job_id):
    answer = client.get(f"/v1/prediction-jobs/{job_id}/results?limit=200").json()
    return [item["label"] or item["problem"]["code"] for item in answer["items"]]


@pytest.fixture
def runner(app):
    return app.state.context.jobs


@pytest.fixture
def by_hand(app, client):
    """One whose thread is not started, in the place of the app's."""
    return second_runner(app)


def test_jobs_take_turns_by_chunks(client, taught, by_hand, session_factory, monkeypatch):
    monkeypatch.setattr(job_runner, "CHUNK", 4)
    first, second = post(client, 12), post(client, 4)
    done = []
    while by_hand._work():
        with session_factory() as session:
            jobs = session.query(PredictionJobRow).order_by(PredictionJobRow.id)
            done.append([job.n_done for job in jobs])
    assert done == [[4, 0], [4, 4], [8, 4], [12, 4]]
    assert labels(client, first) == ["heron"] * 12
    assert ended(client, second)["status"] == "succeeded"


def test_few_images_wait_for_the_engine_at_once(client, app, taught, runner, monkeypatch):
    engine, asked = app.state.context.engine, []
    submit = engine.submit

    def noting(snapshot, images, owner=None):
        if owner == job_runner.OWNER:
            asked.append(len(images))
            assert engine._queued_images <= len(images)
        return submit(snapshot, images, owner)

    monkeypatch.setattr(engine, "submit", noting)
    monkeypatch.setattr(engine, "images_within", lambda snapshot, seconds: 5)
    assert ended(client, post(client, 12))["status"] == "succeeded"
    assert asked == [5, 5, 2]


def test_a_service_that_stops_keeps_what_was_answered_and_the_next_one_goes_on(
    client, app, taught, runner, settings, session_factory, blobs, monkeypatch
):
    entered, goes_on = Event(), Event()
    score = runner._score

    def slowly(*args):
        answers = score(*args)
        entered.set()
        wait_until(goes_on.is_set)
        return answers

    monkeypatch.setattr(runner, "_score", slowly)
    monkeypatch.setattr(runner._engine, "images_within", lambda snapshot, seconds: 5)
    job_id = post(client, 12)
    wait_until(entered.is_set)
    runner._stopping.set()
    goes_on.set()
    runner.stop()
    with session_factory() as session:
        job = prediction_jobs.get_job(session, job_id)
        assert (job.status, job.n_done, job.lease_until) == ("running", 5, None)
    headers = dict(client.headers)
    with TestClient(create_app(settings, session_factory, blobs), headers=headers) as other:
        assert ended(other, job_id)["status"] == "succeeded"
        assert labels(other, job_id) == ["heron"] * 12


def test_what_is_wrong_with_an_image_is_its_own(client, taught, by_hand, blobs, session_factory):
    job_id = post(client, 4)
    with session_factory() as session:
        rows = session.query(PredictionJobImageRow).order_by(PredictionJobImageRow.index)
        hashes = [row.blob_sha256 for row in rows]
    blobs.delete(hashes[0])
    damaged = blobs._path(hashes[1])
    damaged.chmod(0o600)
    damaged.write_bytes(b"damaged")
    while by_hand._work():
        pass
    assert labels(client, job_id) == ["image-gone", "blob-damaged", "heron", "heron"]
    job = ended(client, job_id)
    assert (job["status"], job["images"]["problems"]) == ("succeeded", 2)


def test_an_engine_that_has_much_to_do_is_waited_for(client, taught, runner, monkeypatch):
    monkeypatch.setattr(job_runner, "RETRY_S", 0.01)
    engine, refusals = runner._engine, iter([True, True])
    submit = engine.submit

    def refusing(snapshot, images, owner=None):
        if owner == job_runner.OWNER and next(refusals, False):
            raise engine._overloaded()
        return submit(snapshot, images, owner)

    monkeypatch.setattr(engine, "submit", refusing)
    assert ended(client, post(client, 3))["status"] == "succeeded"
    assert next(refusals, None) is None


@pytest.mark.parametrize("is_stored", [False, True])
def test_what_was_answered_waits_for_a_database_that_is_away(
    client, taught, runner, monkeypatch, session_factory, is_stored
):
    """Whether it was stored before the connection was lost or not: it is neither answered nor counted once more."""
    monkeypatch.setattr(job_runner, "RETRY_S", 0.01)
    monkeypatch.setattr(job_runner, "CHUNK", 2)
    give_back, failures = prediction_jobs.give_back, iter([True, True, True])

    def failing(session, job, answers, **options):
        if next(failures, False):
            if is_stored:
                give_back(session, job, answers, **options)
                session.commit()
            raise DatabaseUnavailableError
        return give_back(session, job, answers, **options)

    monkeypatch.setattr(prediction_jobs, "give_back", failing)
    job_id = post(client, 3)
    job = ended(client, job_id)
    assert next(failures, None) is None
    assert (job["status"], job["images"]["done"]) == ("succeeded", 3)
    with session_factory() as session:
        assert prediction_jobs.get_job(session, job_id).token == 2


def test_a_service_that_stops_does_not_wait_for_a_database_that_is_away(
    client, taught, runner, monkeypatch, session_factory
):
    tried = Event()

    def failing(session, job, answers, **options):
        tried.set()
        raise DatabaseUnavailableError

    monkeypatch.setattr(prediction_jobs, "give_back", failing)
    monkeypatch.setattr(job_runner, "RETRY_S", 1000)
    job_id = post(client, 3)
    wait_until(tried.is_set)
    runner.stop()
    assert not runner.thread.is_alive()
    with session_factory() as session:
        job = prediction_jobs.get_job(session, job_id)
        assert (job.status, job.n_done) == ("running", 0)
        assert job.lease_until is not None


def test_a_job_is_held_while_its_version_is_loaded(
    client, app, taught, teach, by_hand, monkeypatch, session_factory
):
    assert teach(("robin", "wren"))["status"] == "succeeded"
    wait_until(lambda: app.state.context.store.live_address(taught).version == 2)
    monkeypatch.setattr(job_runner, "RENEW_S", 0.01)
    monkeypatch.setattr(job_runner, "LEASE_S", 1000)
    loader, renew, renewed, others = by_hand._loads._loader, by_hand._renew, [], []
    load = loader.load

    def slowly(address):
        with session_factory.begin() as session:
            # As if its lease had nearly run out when it began.
            session.query(PredictionJobRow).update({"lease_until": func.now()})
        wait_until(lambda: len(renewed) >= 2)
        with session_factory.begin() as session:
            others.append(prediction_jobs.claim_next(session, 1))
        return load(address)

    def noting(job):
        renew(job)
        renewed.append(job.id)

    monkeypatch.setattr(loader, "load", slowly)
    monkeypatch.setattr(by_hand, "_renew", noting)
    job_id = post(client, 3, version=1)
    assert by_hand._work()
    assert others == [None]
    assert ended(client, job_id)["status"] == "succeeded"


def limited_key(session_factory, app, per_minute):
    with session_factory.begin() as session:
        quotas = {"predict_images_per_minute": per_minute}
        _, key = keys.create_key(session, "limited", "predictor", quotas=quotas)
    app.state.context.keys.refresh()
    return {"Authorization": f"Bearer {key}"}


def test_what_a_key_may_have_predicted_in_a_minute_holds_for_its_jobs(
    app, client, taught, by_hand, session_factory, monkeypatch
):
    monkeypatch.setattr(job_runner, "RETRY_S", 0.0)
    limited = limited_key(session_factory, app, 10)
    files = [("images", (f"{i}.png", make_image("heron", i), "image/png")) for i in range(30)]
    mine = client.post(JOBS, files=files, headers=limited).json()["id"]
    for _ in range(5):
        assert by_hand._work()
    job = client.get(f"/v1/prediction-jobs/{mine}").json()
    assert (job["status"], job["images"]["done"]) == ("running", 10)
    one = {"content": make_image("heron", 50), "headers": limited | {"Content-Type": "image/png"}}
    refused = client.post("/v1/learners/birds/predictions", **one)
    assert (refused.status_code, refused.json()["code"]) == (429, "rate-limited")
    other = post(client, 12)
    for _ in range(3):
        by_hand._work()
    assert ended(client, other)["status"] == "succeeded"
    # A minute later as much is there again.
    buckets = app.state.context.quotas._buckets
    for level in buckets._levels.values():
        level.at -= 60
    for _ in range(2):
        by_hand._work()
    assert client.get(f"/v1/prediction-jobs/{mine}").json()["images"]["done"] == 20


def test_a_small_job_draws_no_more_than_its_images(app, client, taught, by_hand, session_factory):
    limited = limited_key(session_factory, app, 10)
    files = [("images", (f"{i}.png", make_image("heron", i), "image/png")) for i in range(4)]
    assert client.post(JOBS, files=files, headers=limited).status_code == 202
    assert by_hand._work()
    one = {"content": make_image("heron", 50), "headers": limited | {"Content-Type": "image/png"}}
    url = "/v1/learners/birds/predictions"
    assert [client.post(url, **one).status_code for _ in range(7)] == [200] * 6 + [429]


def test_a_key_that_may_have_nothing_predicted_posts_no_job(app, client, taught, session_factory):
    answer = client.post(JOBS, json={"samples": {}}, headers=limited_key(session_factory, app, 0))
    assert (answer.status_code, answer.json()["code"]) == (429, "rate-limited")


def test_a_job_outlives_its_key(app, client, taught, by_hand, session_factory):
    headers = limited_key(session_factory, app, None)
    answer = client.post(JOBS, json={"samples": {}}, headers=headers).json()
    with session_factory.begin() as session:
        keys.revoke_key(session, headers["Authorization"].split("_")[1])
    app.state.context.keys.refresh()
    while by_hand._work():
        pass
    assert ended(client, answer["id"])["status"] == "succeeded"


def test_a_version_that_is_gone_ends_its_job(client, taught, by_hand, session_factory):
    job_id = post(client, 3)
    with session_factory.begin() as session:
        values = {"manifest_sha256": None, "erased_at": VersionRow.created_at}
        session.query(VersionRow).update(values)
    assert by_hand._work()
    job = ended(client, job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "version-erased")
    assert not by_hand._work()


def test_all_classes_hidden_ends_its_job(client, taught, by_hand):
    job_id = post(client, 3)
    for label in ("heron", "egret"):
        client.patch(f"/v1/learners/birds/classes/{label}", json={"hidden": True})
    assert by_hand._work()
    assert ended(client, job_id)["error"]["code"] == "all-classes-hidden"


def test_an_error_of_the_model_ends_its_job_and_no_other(
    client, taught, runner, monkeypatch, capsys
):
    def failing(self, images):
        raise RuntimeError("of the device")

    with monkeypatch.context() as patched:
        patched.setattr(Strategy, "predict", failing)
        job = ended(client, post(client, 3))
    assert (job["status"], job["error"]["code"]) == ("failed", "internal")
    assert "of the device" not in str(job)
    assert "prediction_job_failed" in capsys.readouterr().out
    assert ended(client, post(client, 3))["status"] == "succeeded"


def test_one_cancelled_while_it_is_answered_stays_cancelled(client, taught, runner, monkeypatch):
    entered, goes_on = Event(), Event()
    score = runner._score

    def slowly(*args):
        entered.set()
        wait_until(goes_on.is_set)
        return score(*args)

    monkeypatch.setattr(runner, "_score", slowly)
    job_id = post(client, 3)
    wait_until(entered.is_set)
    client.post(f"/v1/prediction-jobs/{job_id}/cancel")
    goes_on.set()
    monkeypatch.undo()
    assert ended(client, post(client, 2))["status"] == "succeeded"
    job = ended(client, job_id)
    assert (job["status"], job["images"]["done"]) == ("cancelled", 0)


@pytest.mark.slow
@pytest.mark.chaos
def test_killed_in_the_middle_it_goes_on_after_a_restart(tmp_path):
    places = tmp_path / "places"
    places.mkdir()
    data = tmp_path / "data"
    data.mkdir()
    service = Served(data, **{failpoints.VARIABLE: str(places)})
    service.start()
    body = {"name": "birds", "strategy": "simplecil", "backbone": "tiny"}
    assert service.client.post("/v1/learners", json=body).status_code == 201
    task_id = post_task(service.client, ("heron", "egret"))
    assert service.client.get(f"/v1/tasks/{task_id}?wait=60").json()["status"] == "succeeded"
    (places / "job.before_give_back").write_text("kill 2")
    job_id = post(service.client, 3 * job_runner.CHUNK)
    assert service.process.wait() == -signal.SIGKILL
    service.client.close()
    assert not list(places.iterdir())
    service.start()
    job = ended(service.client, job_id)
    assert (job["status"], job["images"]["done"]) == ("succeeded", 3 * job_runner.CHUNK)
    lines = service.client.get(f"/v1/prediction-jobs/{job_id}/results?format=csv").text
    assert lines.count("heron") == 3 * job_runner.CHUNK
    assert service.end(signal.SIGTERM) == 0


def test_a_job_over_images_of_before_tells_how_they_look(client, taught, session_factory):
    """Images that an earlier release kept have a review, but nothing to tell what looks like them."""
    predict(client, make_image("heron", 70), make_image("owl", 70))
    client.get("/v1/learners/birds/review")
    with session_factory.begin() as session:
        before = {"small": None, "features": None, "usefulness": 0.5, "novelty": 0.5}
        assert session.query(ReviewRow).update(before) == 2
    answer = client.post(JOBS, json={"predictions": {}}).json()
    assert ended(client, answer["id"])["status"] == "succeeded"
    with session_factory() as session:
        rows = session.query(ReviewRow).order_by(ReviewRow.index).all()
    assert [len(row.small) for row in rows] == [216, 216]
    for row in rows:
        assert (row.features is not None) == (row.usefulness >= WORTH)
