import re
import socket

import pytest
from fastapi.routing import iter_route_contexts

from service.http.demands import DemandTable
from service.http.security import COOKIE, KeyRing
from tests.served import served

SITE = "http://testserver"


PUBLIC_ROUTES = {
    "/", "/livez", "/readyz", "/v1/info", "/problems/{code}", "/admin/login", "/admin/enter", "/admin/static/{name}"
}  # fmt: skip
PLACES = {
    "name": "birds",
    "code": "validation",
    "number": "1",
    "index": "0",
    "key_id": "000000000000",
    "label": "heron",
    "path": "anything",
}
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW")


def every_route(app):
    """Return the pattern of every route, those of the dashboard and those left out of the schema included."""
    return sorted({context.path for context in iter_route_contexts(app.routes)})


def fill(pattern):
    return re.sub(r"{(\w+)(?::\w+)?}", lambda found: PLACES.get(found[1], "xxx_00000000"), pattern)


def test_every_route_needs_a_key_but_the_named_few(app, stranger, subtests):
    """With every method, whether the route has it or not: nobody learns without a key what there is."""
    public, table = set(), DemandTable(app.routes)
    for pattern in every_route(app):
        path = fill(pattern)
        if table.find("GET", path).is_public:
            public.add(pattern)
            continue
        for method in METHODS:
            with subtests.test(method=method, path=pattern):
                answer = stranger.request(method, path)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"].startswith("Bearer")
                assert method == "HEAD" or answer.json()["code"] == "unauthorized"
    assert public == PUBLIC_ROUTES


def test_public_routes_take_no_other_method(app, stranger, subtests):
    for pattern in PUBLIC_ROUTES:
        for method in set(METHODS) - {"GET"}:
            if method != "POST" or pattern not in ("/admin/login", "/admin/enter"):
                with subtests.test(method=method, path=pattern):
                    answer = stranger.request(method, fill(pattern))
                    assert answer.status_code == 405
                    assert "GET" in answer.headers["allow"]


HIDDEN_BEHIND = (
    "//v1/learners",
    "/v1//learners",
    "/v1/learners/",
    "/v1/../v1/learners",
    "/livez/../v1/learners",
    "/livez/%2e%2e/v1/learners",
    "/problems/../v1/learners",
    "/problems/%2e%2e/v1/learners",
    "/problems/%2e%2e%2fv1%2flearners",
    "/problems/..%2f..%2fv1/learners",
    "/problems/.%2e/v1/learners",
    "/problems/x/../../v1/learners",
    "/admin/static/../learners/birds",
    "/admin/static/%2e%2e/learners/birds",
    "/admin/static/..%2flearners%2fbirds",
    "/admin/login/../tasks",
    "/admin/login/",
    "/admin/login;/tasks",
    "/admin/login%00",
    "/admin/login%2f",
    "/v1/info/",
    "/v1/info.",
    "/v1/info%20",
    "/v1/info;x=1",
    "/V1/info",
    "/v1/learners.",
    "/v1/learners%00",
    "/v1/learners;/livez",
    "/v1/learners#/livez",
    "/v1/learners?/livez",
    "/v1%2flearners",
    "/%76%31/learners",
    "/metrics/",
    "/metrics?x=/livez",
    "/./v1/learners",
    "/.well-known/x",
    "\\v1\\learners",
)


def test_no_spelling_of_a_path_gets_around_the_key(client, stranger, subtests, role_keys):
    for path in HIDDEN_BEHIND:
        with subtests.test(path=path):
            answer = stranger.get(path, follow_redirects=False)
            assert answer.status_code in (401, 404)
            assert "birds" not in answer.text
            assert "items" not in answer.text


def test_a_public_prefix_opens_nothing_below_it(client, stranger):
    """What is under `/problems/` and `/admin/static/` is looked up in a table, never on a disk, and is there or not."""
    for path in ("/problems/x/y", "/problems/", "/problems/_", "/admin/static/x", "/admin/static/"):
        assert stranger.get(path).status_code in (401, 404)


OVERRIDES = (
    "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL",
    "X-Forwarded-Prefix", "X-Original-Method", "X-Forwarded-Path", "X-Forwarded-Uri",
)  # fmt: skip


@pytest.mark.parametrize("header", OVERRIDES)
def test_no_header_turns_a_request_into_another_one(client, stranger, birds, role_keys, header):
    reader = {"Authorization": f"Bearer {role_keys['reader']}"}
    url = f"/v1/learners/{birds}"
    for value in ("DELETE", f"/v1/learners/{birds}", "/livez"):
        assert stranger.get("/v1/learners", headers={header: value}).status_code == 401
        assert stranger.get(url, headers={**reader, header: value}).json()["name"] == birds
        assert stranger.post(url, headers={**reader, header: value}).status_code == 405
        forbidden = stranger.post("/v1/learners", json={}, headers={**reader, header: value})
        assert forbidden.status_code == 403
    assert stranger.get(f"{url}?_method=DELETE", headers=reader).status_code == 200
    assert client.get(url).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "livez", "127.0.0.1:1/livez", "x/livez?", "a@b"])
def test_the_host_decides_nothing(stranger, role_keys, host):
    """Starlette once made the path of a request out of its Host header (CVE-2026-48710)."""
    answer = stranger.get("/v1/learners", headers={"Host": host})
    assert answer.status_code in (400, 401)
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/docs", "/openapi.json", "/metrics", "/v1/nothing", "/problems", "/problems/../docs"]
)
def test_unlisted_paths_need_a_key_too(stranger, path):
    assert stranger.get(path).status_code == 401


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
    ("PATCH", "/v1/keys/000000000000"): "admin",
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


@pytest.fixture
def cookie(client, app, role_keys):
    ring: KeyRing = app.state.context.keys
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
    key_id, expires, number, signature = cookie.split(".")
    for forged in (
        f"{key_id}.{int(expires) + 1}.{number}.{signature}",
        f"000000000000.{expires}.{number}.{signature}",
        f"{key_id}.{expires}.{number[::-1]}.{signature}",
        f"{key_id}.{expires}.{number}.{'0' * 43}",
        f"{key_id}.{expires}.{number}.",
        f"{key_id}.{expires}.{number}",
        f"{key_id}...{signature}",
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


def test_an_absolute_address_is_no_way_around(app, session_factory, role_keys):
    """The form that proxies are asked in; its host and scheme decide nothing, and its path is the path."""
    with served(app) as url:

        def ask(target, *lines, method="GET"):
            port = int(url.rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port)) as connection:
                head = [f"{method} {target} HTTP/1.1", "Host: here", "Connection: close", *lines]
                connection.sendall("\r\n".join([*head, "", ""]).encode())
                return int(connection.makefile("rb").readline().split()[1])

        assert ask("http://evil.example/livez") == 200
        for target in (
            "http://evil.example/v1/learners",
            "http://livez/v1/learners",
            "http://evil.example/livez/../v1/learners",
            "https://evil.example:443/v1/learners",
            "//livez/v1/learners",
            "/livez\\..\\v1\\learners",
        ):
            assert ask(target) == 401, target
        key = f"Authorization: Bearer {role_keys['reader']}"
        assert ask("http://evil.example/v1/learners", key) == 200
        assert ask("evil.example:443", method="CONNECT") in (400, 401, 404, 405)
        assert ask("*", method="OPTIONS") in (400, 401)
