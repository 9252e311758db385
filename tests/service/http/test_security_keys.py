"""Keys are right or wrong, made, limited, revoked, and end."""

import contextlib
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import httpx
import pytest

from registry import keys
from service.http import security
from service.http.security import COOKIE, KeyRing
from service.settings import ServiceSettings
from tests.served import served
from tests.service.api import image_files
from tests.waiting import PACE, wait_until


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Basic abc",
        "Bearer fil_000000000000_x",
        "Bearer fil__",
        "Bearer \xff",
    ],
)
def test_wrong_keys_are_refused(stranger, header):
    answer = stranger.get("/v1/learners", headers={"Authorization": header.encode("latin-1")})
    assert answer.status_code == 401


def test_a_key_in_the_query_does_not_count(stranger, role_keys):
    assert stranger.get(f"/v1/learners?key={role_keys['admin']}").status_code == 401


def test_keys_are_created_used_and_revoked_at_once(client, stranger):
    created = client.post("/v1/keys", json={"name": "camera", "role": "reader"})
    assert created.status_code == 201
    headers = {"Authorization": f"Bearer {created.json()['key']}"}
    assert stranger.get("/v1/learners", headers=headers).status_code == 200
    listed = {key["id"]: key for key in client.get("/v1/keys").json()["items"]}
    assert listed[created.json()["id"]]["revoked_at"] is None
    assert created.json()["key"] not in client.get("/v1/keys").text
    revoked = client.delete(f"/v1/keys/{created.json()['id']}")
    assert revoked.json()["revoked_at"] is not None
    assert stranger.get("/v1/learners", headers=headers).status_code == 401


def test_what_was_read_before_a_key_was_revoked_does_not_bring_it_back(
    client, stranger, app, monkeypatch
):
    key = client.post("/v1/keys", json={"name": "camera", "role": "reader"}).json()
    ring: KeyRing = app.state.context.keys
    has_read, may_go_on = threading.Event(), threading.Event()
    read = keys.active_keys

    def read_slowly(session):
        active = read(session)
        if not has_read.is_set():
            has_read.set()
            assert may_go_on.wait(PACE.scaled(60))
        return active

    app.state.context.watcher.stop()
    monkeypatch.setattr(keys, "active_keys", read_slowly)
    look = threading.Thread(target=ring.refresh)
    look.start()
    wait_until(has_read.is_set)
    revoke = threading.Thread(target=client.delete, args=(f"/v1/keys/{key['id']}",))
    revoke.start()
    # It may have to wait for the look, and then it cannot end first.
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not revoke.is_alive(), 1)
    may_go_on.set()
    look.join()
    revoke.join()
    assert (
        stranger.get("/v1/learners", headers={"Authorization": f"Bearer {key['key']}"}).status_code
        == 401
    )


def test_a_key_made_by_another_process_works_at_once_and_stops_soon(
    session_factory, stranger, settings: ServiceSettings
):
    with session_factory.begin() as session:
        row, key = keys.create_key(session, "made elsewhere", "reader")
    headers = {"Authorization": f"Bearer {key}"}
    wait_until(lambda: stranger.get("/v1/learners", headers=headers).status_code == 200)
    with session_factory.begin() as session:
        keys.revoke_key(session, row.id)
    wait_until(lambda: stranger.get("/v1/learners", headers=headers).status_code == 401)


def test_the_last_admin_key_stays(client):
    [admin] = [key for key in client.get("/v1/keys").json()["items"] if key["role"] == "admin"]
    answer = client.delete(f"/v1/keys/{admin['id']}")
    assert (answer.status_code, answer.json()["code"]) == (409, "last-admin-key")
    assert client.get("/v1/keys").status_code == 200


@pytest.fixture
def caller(app, client, session_factory, stranger):
    """Makes a key, and returns its row and what to send with it."""

    def make(role="reader", **options):
        with session_factory.begin() as session:
            row, key = keys.create_key(session, "tests", role, **options)
        app.state.context.keys.refresh()
        return row, {"Authorization": f"Bearer {key}"}

    return make


def test_a_key_expires(caller, stranger, session_factory, app):
    soon = datetime.now(UTC) + timedelta(seconds=PACE.scaled(1.5))
    _, headers = caller(expires_at=soon)
    assert stranger.get("/v1/learners", headers=headers).status_code == 200
    wait_until(lambda: stranger.get("/v1/learners", headers=headers).status_code == 401)
    # Early by as long as the database took to answer, at most: the time counts from when it was asked.
    assert datetime.now(UTC) >= soon - timedelta(seconds=0.5)


def test_a_key_expires_while_the_database_is_away(caller, stranger, app, monkeypatch):
    _, headers = caller(expires_at=datetime.now(UTC) + timedelta(seconds=30))
    ring: KeyRing = app.state.context.keys
    key = headers["Authorization"].removeprefix("Bearer ")
    cookie = {"Cookie": f"{COOKIE}={ring.session_cookie(ring.verify(key))}"}
    monkeypatch.setattr(ring, "refresh", lambda: None)
    assert stranger.get("/v1/strategies", headers=headers).status_code == 200
    assert stranger.get("/v1/strategies", headers=cookie).status_code == 200
    # The module's own view of the time only: the event loop's must go on.
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + 31, time=time.time)
    monkeypatch.setattr("service.http.security.time", later)
    assert stranger.get("/v1/strategies", headers=headers).status_code == 401
    assert stranger.get("/v1/strategies", headers=cookie).status_code == 401


def test_the_api_makes_limited_keys_and_shows_what_limits_them(client, birds):
    body = {
        "name": "camera",
        "role": "predictor",
        "learners": [birds],
        "expires_at": "2100-01-01T00:00:00Z",
        "quotas": {"tasks_per_day": 5, "images_per_day": None},
    }
    made = client.post("/v1/keys", json=body)
    assert made.status_code == 201
    expected = {**body, "revoked_at": None, "last_used_at": None}
    for shown in (made.json(), client.get("/v1/keys").json()["items"][-1]):
        assert {key: shown[key] for key in expected} == expected
    assert client.delete(f"/v1/keys/{made.json()['id']}").json()["learners"] == [birds]


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"role": "admin", "learners": ["birds"]}, "/body/learners"),
        ({"learners": ["birds", "nobody"]}, "/body/learners/1"),
        ({"learners": []}, "/body/learners"),
        ({"learners": ["No Name"]}, "/body/learners/0"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/body/expires_at"),
        ({"expires_at": "2100-01-01T00:00:00"}, "/body/expires_at"),
        ({"quotas": {"tasks_per_day": -1}}, "/body/quotas/tasks_per_day"),
        ({"quotas": {"tasks_per_year": 1}}, "/body/quotas/tasks_per_year"),
    ],
)
def test_keys_that_make_no_sense_are_refused(client, birds, wrong, pointer):
    answer = client.post("/v1/keys", json={"name": "camera", "role": "reader", **wrong})
    assert (answer.status_code, answer.json()["code"]) == (422, "validation")
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert all(key["name"] != "camera" for key in client.get("/v1/keys").json()["items"])


def test_the_last_use_of_a_key_is_written_now_and_then(caller, stranger, client, app):
    row, headers = caller()
    ring: KeyRing = app.state.context.keys

    def last_used():
        [found] = [key for key in client.get("/v1/keys").json()["items"] if key["id"] == row.id]
        return found["last_used_at"]

    assert last_used() is None
    assert stranger.get("/v1/learners", headers=headers).status_code == 200
    ring.write_used(at_once=True)
    first = last_used()
    assert first is not None
    assert stranger.get("/v1/learners", headers=headers).status_code == 200
    ring.write_used()  # as the watcher does every second
    assert last_used() == first
    ring.write_used(at_once=True)
    assert last_used() > first


def test_an_admin_key_that_expires_does_not_replace_the_last_one(client, caller):
    caller("admin", expires_at=datetime.now(UTC) + timedelta(days=1))
    [lasting] = [
        key
        for key in client.get("/v1/keys").json()["items"]
        if key["role"] == "admin" and key["expires_at"] is None
    ]
    answer = client.delete(f"/v1/keys/{lasting['id']}")
    assert (answer.status_code, answer.json()["code"]) == (409, "last-admin-key")


def test_a_long_poll_of_a_revoked_key_says_so(app, client, caller, stranger, birds):
    """What it waited for is not for it any more."""
    row, headers = caller()
    answers = []
    files = image_files(("heron",), 2)
    task = client.post(f"/v1/learners/{birds}/tasks", files=files).json()["id"]

    def wait():
        answers.append(stranger.get(f"/v1/tasks/{task}?wait=60", headers=headers))

    poll = threading.Thread(target=wait)
    poll.start()

    def is_let_in():
        app.state.context.keys.write_used(at_once=True)
        return row.id in {
            key["id"] for key in client.get("/v1/keys").json()["items"] if key["last_used_at"]
        }

    wait_until(is_let_in)
    assert client.delete(f"/v1/keys/{row.id}").status_code == 200
    # What it waits for.
    assert client.post(f"/v1/tasks/{task}/cancel").status_code == 202
    poll.join()
    assert answers[0].status_code == 401
    assert answers[0].headers["content-type"] == "application/problem+json"
    assert answers[0].headers["x-request-id"] == answers[0].json()["request_id"]
    assert task not in answers[0].text


def test_a_stream_of_a_revoked_key_ends(app, role_keys):
    headers = {"Authorization": f"Bearer {role_keys['admin']}"}
    with (
        served(app) as url,
        httpx.Client(base_url=url, headers=headers, timeout=PACE.scaled(60)) as client,
    ):
        body = {"name": "birds", "strategy": "simplecil", "backbone": "tiny"}
        assert client.post("/v1/learners", json=body).status_code == 201
        files = image_files(("heron",), 2)
        task = client.post("/v1/learners/birds/tasks", files=files).json()["id"]
        made = client.post("/v1/keys", json={"name": "follower", "role": "reader"}).json()
        own = {"Authorization": f"Bearer {made['key']}"}
        with client.stream("GET", f"/v1/tasks/{task}/events", headers=own) as stream:
            lines = stream.iter_lines()
            assert next(lines) == "event: queued"
            assert client.delete(f"/v1/keys/{made['id']}").status_code == 200
            # It is cut with the first event that it would have shown.
            assert client.post(f"/v1/tasks/{task}/cancel").status_code == 202
            assert not any("cancelled" in line for line in lines)


def test_a_key_may_revoke_itself_and_is_told_so(client, caller, stranger):
    row, headers = caller("admin")
    assert stranger.delete(f"/v1/keys/{row.id}", headers=headers).status_code == 200
    assert stranger.get("/v1/keys", headers=headers).status_code == 401


def test_a_key_that_was_made_elsewhere_a_moment_ago_is_right(session_factory, role_keys):
    ring = KeyRing(session_factory, b"secret")
    ring.refresh()
    for number in range(5):
        with session_factory.begin() as session:
            _, made = keys.create_key(session, f"camera {number}", "predictor")
        assert ring.find(made).role == "predictor"


def test_wrong_keys_are_not_looked_up_without_end(session_factory, role_keys, monkeypatch):
    ring = KeyRing(session_factory, b"secret")
    ring.refresh()
    asked = []
    monkeypatch.setattr(keys, "is_active", lambda session, text: asked.append(text))
    monkeypatch.setattr(security, "LOOKED_UP_PER_MINUTE", 3)
    assert [ring.find(f"fil_{number:012x}_{'0' * 64}") for number in range(50)] == [None] * 50
    assert 3 <= len(asked) < 10
