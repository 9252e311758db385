"""Sessions of browsers end when somebody logs out: here, in other processes, and after a restart."""

import hashlib
import hmac
import string
import time
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, text
from starlette.datastructures import Headers

from registry import keys, sessions
from registry.tables import EndedSessionRow
from registry.upkeep.backup import TABLES
from service.app import create_app
from service.http.browser_sessions import COOKIE, SESSIONS_PER_MINUTE, session_of
from service.private_files import session_secret
from tests.waiting import wait_until

OWN = {"Sec-Fetch-Site": "same-origin"}


def browser(app):
    return TestClient(app, follow_redirects=False, raise_server_exceptions=False)


def log_in(visitor, key):
    """Log in and return the session's cookie as a header."""
    answer = visitor.post("/admin/login", data={"key": key}, headers=OWN)
    assert answer.status_code == 303, answer.text
    cookie = {"Cookie": f"{COOKIE}={answer.cookies[COOKIE]}"}
    visitor.cookies.clear()
    return cookie


def reads(visitor, cookie):
    return visitor.get("/v1/learners", headers=cookie).status_code == 200


def test_logging_out_ends_the_session_and_no_other(app, client, role_keys):
    visitor = browser(app)
    first, second = log_in(visitor, role_keys["reader"]), log_in(visitor, role_keys["reader"])
    assert first != second
    assert visitor.post("/admin/logout", headers=OWN | first).status_code == 303
    assert not reads(visitor, first)
    assert reads(visitor, second)
    assert reads(visitor, log_in(visitor, role_keys["reader"]))
    again = visitor.post("/admin/logout", headers=OWN | first | {"Accept": "text/html"})
    assert again.headers["location"] == "/admin/login"


def test_it_ends_in_other_processes_and_after_a_restart(
    app, client, role_keys, settings, session_factory, blobs
):
    visitor = browser(app)
    cookie = log_in(visitor, role_keys["trainer"])
    with TestClient(create_app(settings, session_factory, blobs)) as other:
        wait_until(lambda: reads(other, cookie))
        visitor.post("/admin/logout", headers=OWN | cookie)
        wait_until(lambda: not reads(other, cookie))
    app = create_app(settings, session_factory, blobs)
    with TestClient(app, follow_redirects=False) as restarted:
        wait_until(lambda: reads(restarted, log_in(restarted, role_keys["trainer"])))
        assert not reads(restarted, cookie)


def test_a_key_with_a_scope_logs_out_too(app, client, session_factory):
    body = {"name": "birds", "strategy": "simplecil", "backbone": "tiny"}
    assert client.post("/v1/learners", json=body).status_code == 201
    with session_factory.begin() as session:
        _, key = keys.create_key(session, "camera", "reader", learners=["birds"])
    app.state.context.keys.refresh()
    visitor = browser(app)
    cookie = log_in(visitor, key)
    assert visitor.post("/admin/logout", headers=OWN | cookie).status_code == 303
    assert not reads(visitor, cookie)


def test_a_cookie_of_an_older_release_leads_to_the_login(app, client, role_keys, settings):
    _, key_id, secret = role_keys["reader"].split("_")
    stamp = f"{key_id}.{int(time.time()) + 3600}"
    signed = f"{stamp}.{'0' * 32}.{hashlib.sha256(secret.encode()).hexdigest()}"
    digest = hmac.new(session_secret(settings.data_dir), signed.encode(), hashlib.sha256)
    cookie = {"Cookie": f"{COOKIE}={stamp}.{'0' * 32}{digest.hexdigest()}"}
    visitor = browser(app)
    assert reads(visitor, log_in(visitor, role_keys["reader"]))
    assert not reads(visitor, cookie)
    answer = visitor.get("/admin", headers=cookie | {"Accept": "text/html"})
    assert answer.headers["location"] == "/admin/login?next=/admin"


def test_a_cookie_made_where_the_clock_is_ahead_works(app, client, role_keys, monkeypatch):
    visitor = browser(app)
    with monkeypatch.context() as elsewhere:
        ahead = SimpleNamespace(time=lambda: time.time() + 60)
        elsewhere.setattr("service.http.browser_sessions.time", ahead)
        cookie = log_in(visitor, role_keys["reader"])
    assert reads(visitor, cookie)


def test_another_spelling_of_the_signature_brings_no_ended_session_back(app, client, role_keys):
    visitor = browser(app)
    cookie = log_in(visitor, role_keys["reader"])
    digits = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    value = cookie["Cookie"]
    # The last of 43 digits holds two bits that stand for nothing.
    other = {"Cookie": value[:-1] + digits[digits.index(value[-1]) ^ 1]}
    assert reads(visitor, other)
    assert visitor.post("/admin/logout", headers=OWN | cookie).status_code == 303
    assert not reads(visitor, cookie)
    assert not reads(visitor, other)


def test_another_site_ends_no_session(app, client, role_keys):
    visitor = browser(app)
    cookie = log_in(visitor, role_keys["reader"])
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert visitor.post("/admin/logout", headers=foreign | cookie).status_code == 403
    assert reads(visitor, cookie)


def test_a_key_by_itself_ends_none(client, role_keys, session_factory):
    headers = {"Authorization": f"Bearer {role_keys['reader']}"}
    client.follow_redirects = False
    assert client.post("/admin/logout", headers=headers).status_code == 303
    with session_factory() as session:
        assert session.scalars(select(func.count()).select_from(EndedSessionRow)).one() == 0


def test_a_key_opens_so_many_sessions_a_minute(app, client, role_keys):
    ring = app.state.context.keys
    ring.refresh()
    principal = ring.verify(role_keys["reader"])
    for _ in range(SESSIONS_PER_MINUTE):
        ring.session_cookie(principal)
    answer = browser(app).post("/admin/login", data={"key": role_keys["reader"]}, headers=OWN)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "1"
    log_in(browser(app), role_keys["trainer"])


def test_ended_sessions_are_forgotten_when_their_cookies_have_expired(session):
    first = sessions.end(session, "a")
    assert sessions.end(session, "a") == first
    sessions.end(session, "b")
    session.execute(
        text(
            "UPDATE ended_sessions SET ended_at = now() - interval '25 h' WHERE session_sha256='a'"
        )
    )
    assert list(sessions.ended_since(session, None)) == ["b"]
    assert sessions.sweep(session) == 1
    assert sessions.sweep(session) == 0


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (f"{COOKIE}=x", "x"),
        (f"a=b; {COOKIE}=x ;c=d", "x"),
        (f"{COOKIE}=x; {COOKIE}=y", "y"),
        (f"a{COOKIE}=x", None),
        (f"a={COOKIE}=x", None),
        (f"{COOKIE}", None),
        (";" * 1000, None),
        ("", None),
    ],
)
def test_the_cookie_is_found_among_others(header, found):
    assert session_of(Headers({"cookie": header})) == found


def test_a_restore_brings_no_ended_session_back():
    assert EndedSessionRow.__table__ not in TABLES
