import pytest
from fastapi.testclient import TestClient

from registry import keys
from service.http.security import COOKIE, KeyRing, is_public
from service.settings import ServiceSettings
from tests.service.conftest import wait_until

SITE = "http://testserver"


@pytest.fixture
def stranger(client, app):
    return TestClient(app, raise_server_exceptions=False)


def every_route(app):
    schema = app.openapi()
    return [
        (method.upper(), path)
        for path, operations in schema["paths"].items()
        for method in operations
    ]


def test_every_route_needs_a_key_but_the_named_few(app, stranger, subtests):
    public = set()
    for method, path in every_route(app):
        filled = path.replace("{name}", "birds").replace("{code}", "validation")
        filled = filled.replace("{task_id}", "tsk_00000000").replace("{number}", "1")
        with subtests.test(method=method, path=path):
            answer = stranger.request(method, filled)
            if is_public(filled):
                public.add(path)
                assert answer.status_code == 200
            else:
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"].startswith("Bearer")
                assert answer.json()["code"] == "unauthorized"
    assert public == {"/livez", "/readyz", "/v1/info", "/problems/{code}"}


@pytest.mark.parametrize(
    "path", ["/docs", "/openapi.json", "/metrics", "/v1/nothing", "/problems", "/problems/../docs"]
)
def test_unlisted_paths_need_a_key_too(stranger, path):
    assert stranger.get(path).status_code == 401


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


ALLOWED = {
    ("GET", "/v1/learners"): "reader",
    ("GET", "/v1/tasks"): "reader",
    ("GET", "/metrics"): "reader",
    ("GET", "/docs"): "reader",
    ("POST", "/v1/learners/nobody/predictions"): "predictor",
    ("POST", "/v1/learners"): "trainer",
    ("PATCH", "/v1/learners/nobody"): "trainer",
    ("POST", "/v1/learners/nobody/tasks"): "trainer",
    ("PUT", "/v1/learners/nobody/aliases/live"): "trainer",
    ("POST", "/v1/tasks/tsk_00000000/cancel"): "trainer",
    ("POST", "/v1/tasks/tsk_00000000/retry"): "trainer",
    ("POST", "/v1/tasks/tsk_00000000/publish"): "trainer",
    ("DELETE", "/v1/tasks/tsk_00000000/samples"): "trainer",
    ("DELETE", "/v1/learners/nobody"): "admin",
    ("GET", "/v1/keys"): "admin",
    ("POST", "/v1/keys"): "admin",
    ("DELETE", "/v1/keys/000000000000"): "admin",
}


@pytest.mark.parametrize("role", ["reader", "predictor", "trainer", "admin"])
def test_roles_reach_what_they_may(client, stranger, role_keys, role, subtests):
    order = list(role_keys)
    for (method, path), needed in ALLOWED.items():
        with subtests.test(method=method, path=path):
            headers = {"Authorization": f"Bearer {role_keys[role]}"}
            answer = stranger.request(method, path, headers=headers)
            is_allowed = order.index(role) >= order.index(needed)
            assert (answer.status_code != 403) == is_allowed


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
def cookie(client, app, role_keys):
    ring: KeyRing = app.state.collaborators.keys
    ring.refresh()
    return ring.session_cookie(ring.verify(role_keys["admin"]))


def test_a_session_reads_everywhere_and_writes_only_in_the_dashboard(stranger, cookie):
    headers = {"Cookie": f"{COOKIE}={cookie}", "Sec-Fetch-Site": "same-origin"}
    assert stranger.get("/v1/learners", headers=headers).status_code == 200
    assert stranger.get("/docs", headers=headers).status_code == 200
    assert stranger.post("/v1/learners", json={}, headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": SITE}, 303),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 403),
    ],
)
def test_another_site_cannot_use_the_session(stranger, cookie, headers, status):
    headers = {"Cookie": f"{COOKIE}={cookie}", **headers}
    answer = stranger.post("/admin/logout", headers=headers, follow_redirects=False)
    assert answer.status_code == status


def test_a_forged_or_expired_session_is_refused(stranger, cookie, monkeypatch):
    key_id, expires, signature = cookie.split(".")
    for forged in (
        f"{key_id}.{int(expires) + 1}.{signature}",
        f"000000000000.{expires}.{signature}",
        f"{key_id}.{expires}.{'0' * 64}",
        f"{key_id}..{signature}",
        "x",
        ".",
    ):
        assert (
            stranger.get("/v1/learners", headers={"Cookie": f"{COOKIE}={forged}"}).status_code
            == 401
        )
    monkeypatch.setattr("service.http.security.time.time", lambda: int(expires) + 1.0)
    assert stranger.get("/v1/learners", headers={"Cookie": f"{COOKIE}={cookie}"}).status_code == 401


def test_answers_carry_the_security_headers(stranger):
    answer = stranger.get("/v1/info", headers={"X-Request-Id": "abc-123", "Origin": "http://evil"})
    assert answer.headers["x-request-id"] == "abc-123"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "access-control-allow-origin" not in answer.headers
    assert "strict-transport-security" not in answer.headers
    forged = stranger.get("/v1/info", headers={"X-Request-Id": "a b\u00e9".encode("latin-1")})
    assert forged.headers["x-request-id"].startswith("req_")
