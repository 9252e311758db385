"""Links that log a browser in, once."""

import re

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from registry import keys, login_links
from registry.login_links import MOST
from registry.tables import LoginLinkRow
from registry.upkeep.backup import TABLES
from service.app import create_app
from service.http.login_links import LoginLinks
from service.http.security import COOKIE, KeyRing

OWN = {"Sec-Fetch-Site": "same-origin", "Accept": "text/html"}


@pytest.fixture
def visitor(client, app):
    """A browser without a session. The app runs as long as `client` does."""
    return TestClient(app, raise_server_exceptions=False, follow_redirects=False)


@pytest.fixture
def path(client):
    created = client.post("/v1/login-links")
    assert created.status_code == 201
    return created.json()["path"]


def token_of(path):
    return path.partition("?token=")[2]


def enter(visitor, path, **headers):
    return visitor.post("/admin/enter", data={"token": token_of(path)}, headers=OWN | headers)


def test_a_link_logs_in_with_the_key_that_made_it(client, visitor, role_keys):
    reader = {"Authorization": f"Bearer {role_keys['reader']}"}
    created = client.post("/v1/login-links", headers=reader)
    assert created.headers["cache-control"] == "no-store"
    shown = visitor.get(created.json()["path"])
    assert shown.status_code == 200
    assert shown.headers["cache-control"] == "no-store"
    entered = enter(visitor, created.json()["path"])
    assert (entered.status_code, entered.headers["location"]) == (303, "/admin")
    assert "token" not in entered.headers["location"]
    page = visitor.get("/admin", headers={"Accept": "text/html"}).text
    assert "reader" in page
    assert visitor.get("/admin/keys").status_code == 403


def test_the_link_of_a_key_with_a_scope_shows_no_more_than_the_key(
    client, visitor, session_factory, app
):
    for name in ("own", "other"):
        body = {"name": f"{name}-birds", "strategy": "simplecil", "backbone": "tiny"}
        assert client.post("/v1/learners", json=body).status_code == 201
    with session_factory.begin() as session:
        _, key = keys.create_key(session, "camera", "reader", learners=["own-birds"])
    app.state.context.keys.refresh()
    path = client.post("/v1/login-links", headers={"Authorization": f"Bearer {key}"}).json()["path"]
    assert enter(visitor, path).status_code == 303
    page = visitor.get("/admin").text
    assert "own-birds" in page
    assert "other-birds" not in page


def test_it_works_once(visitor, path):
    assert enter(visitor, path).status_code == 303
    visitor.cookies.clear()
    again = enter(visitor, path)
    assert again.status_code == 401
    assert COOKIE not in again.cookies
    assert "filopodia login" in again.text


def test_looking_at_it_uses_nothing_up(visitor, path):
    for _ in range(3):
        for method in ("GET", "HEAD"):
            assert COOKIE not in visitor.request(method, path).cookies
    assert enter(visitor, path).status_code == 303


def test_it_gets_too_old(visitor, path, session_factory):
    with session_factory.begin() as session:
        session.execute(update(LoginLinkRow).values(made_at=func.now() - login_links.LIFETIME))
    assert enter(visitor, path).status_code == 401


def test_another_site_cannot_log_a_browser_in(visitor, path):
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}):
        assert enter(visitor, path, **headers).status_code == 403
    data = {"token": token_of(path)}
    assert visitor.post("/admin/enter", data=data).status_code == 403
    assert enter(visitor, path).status_code == 303, "what was refused used it up"


def test_a_link_of_a_revoked_key_leads_nowhere(client, visitor, session_factory, app):
    with session_factory.begin() as session:
        row, key = keys.create_key(session, "camera", "predictor")
    app.state.context.keys.refresh()
    path = client.post("/v1/login-links", headers={"Authorization": f"Bearer {key}"}).json()["path"]
    assert client.delete(f"/v1/keys/{row.id}").is_success
    assert enter(visitor, path).status_code == 401


def test_wrong_tokens_are_counted_and_a_right_one_always_passes(client, visitor, path):
    answers = [enter(visitor, f"?token=wrong{i}").status_code for i in range(12)]
    assert answers[:10] == [401] * 10
    assert answers[-1] == 429
    assert enter(visitor, path).status_code == 303


@pytest.mark.parametrize("token", ["", "x", "\x00", "ä" * 100, "x" * 201, "<script>"])
def test_what_is_no_token_is_no_link(visitor, token):
    answer = visitor.post("/admin/enter", data={"token": token}, headers=OWN)
    assert answer.status_code in (401, 422)
    shown = visitor.get("/admin/enter", params={"token": token}, headers=OWN)
    assert "<script>" not in shown.text


def test_nobody_makes_one_without_a_key_nor_by_a_session(client, visitor, path):
    assert visitor.post("/v1/login-links").status_code == 401
    assert enter(visitor, path).status_code == 303
    assert visitor.post("/v1/login-links", headers=OWN).status_code == 401


def test_the_token_is_in_no_log(client, visitor, path, capfd):
    enter(visitor, path)
    enter(visitor, path)
    output = "".join(capfd.readouterr())
    assert token_of(path) not in output


def test_every_service_on_the_database_takes_it_and_only_one(
    visitor, path, settings, session_factory, blobs
):
    """As the browser goes on at the one that made it, both must know the session."""
    other = create_app(settings, session_factory, blobs)
    with TestClient(other, follow_redirects=False) as elsewhere:
        entered = enter(elsewhere, path)
        assert (entered.status_code, entered.headers["location"]) == (303, "/admin")
        visitor.cookies.update(elsewhere.cookies)
        assert visitor.get("/admin", headers={"Accept": "text/html"}).status_code == 200
        visitor.cookies.clear()
        assert enter(visitor, path).status_code == 401


def test_a_service_that_has_not_heard_of_the_key_looks_for_it(client, app, settings, role_keys):
    links, key_id = app.state.context.login_links, role_keys["reader"].split("_")[1]
    ring = KeyRing(app.state.context.session_factory, b"secret")
    found = ring.find_by_id(links.use(token_of(links.make(key_id))))
    assert (found.key_id, found.role) == (key_id, "reader")


def test_tokens_are_long_never_the_same_and_bounded_in_number(session_factory):
    links = LoginLinks(session_factory)
    tokens = [token_of(links.make("k")) for _ in range(MOST + 1)]
    assert len(set(tokens)) == MOST + 1
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", token) for token in tokens)
    assert links.use(tokens[0]) is None
    assert links.use(tokens[1]) == "k"
    with session_factory() as session:
        stored = set(session.scalars(select(LoginLinkRow.token_sha256)))
    assert len(stored) == MOST - 1
    assert stored.isdisjoint(tokens)


def test_a_backup_holds_none():
    """A restore would bring links back that were used since."""
    assert LoginLinkRow.__table__ not in TABLES
