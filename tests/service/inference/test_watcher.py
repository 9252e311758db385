"""Versions are loaded and swapped behind the requests' backs."""

from fastapi.testclient import TestClient

from models.errors import CheckpointError
from registry import keys, learners, versions
from registry.postgres.database import make_engine, make_session_factory
from service.app import create_app
from tests.service.api import image_files, version_of
from tests.waiting import wait_until, within


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
    context = app.state.context
    context.store.retain(set())
    context.watcher.stop()
    context.watcher._note_database(is_up=False)
    answer = client.post(
        f"/v1/learners/{taught}/predictions", content=b"x", headers={"Content-Type": "image/png"}
    )
    assert (answer.status_code, answer.json()["code"]) == (503, "storage-unavailable")


def test_what_others_commit_is_served_long_before_the_next_look(
    settings, session_factory, blobs, learn, role_keys
):
    settings = settings.model_copy(update={"watch_s": 600})
    app = create_app(settings, session_factory, blobs)
    headers = {"Authorization": f"Bearer {role_keys['admin']}"}
    with TestClient(app, headers=headers) as client:
        context = app.state.context
        wait_until(lambda: context.listener.is_listening and context.watcher.has_looked)
        client.post(
            "/v1/learners", json={"name": "birds", "strategy": "simplecil", "backbone": "tiny"}
        )
        for version, labels in enumerate([("heron", "egret"), ("owl", "wren")], 1):
            task = client.post("/v1/learners/birds/tasks", files=image_files(labels, 6)).json()
            learn(task["id"])
            with within(3):
                wait_until(lambda version=version: version_of(client, "birds") == version)
        with session_factory.begin() as session:
            learners.set_alias(session, learners.get_learner(session, "birds").id, 1)
            row, key = keys.create_key(session, "gone", "reader")
        with within(3):
            wait_until(lambda: version_of(client, "birds") == 1)
        asking = {"Authorization": f"Bearer {key}"}
        assert client.get("/v1/learners", headers=asking).status_code == 200
        with session_factory.begin() as session:
            keys.revoke_key(session, row.id)
        with within(3):
            wait_until(lambda: client.get("/v1/learners", headers=asking).status_code == 401)


def test_a_damaged_version_is_not_served_and_the_last_good_one_goes_on(
    client, taught, teach, app, blobs, session_factory, monkeypatch
):
    watcher = app.state.context.watcher
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
    loader, tries = app.state.context.watcher._loader, []

    def fail(address):
        tries.append(address.version)
        raise CheckpointError("This version was learned on other weights.")

    loader._load = fail
    app.state.context.store.retain(set())
    wait_until(lambda: app.state.context.watcher.failing() == {taught: 1})
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
    store = app.state.context.store
    store.retain(set())
    wait_until(lambda: app.state.context.watcher.failing() == {taught: 1})
    assert version_of(client, taught) is None
