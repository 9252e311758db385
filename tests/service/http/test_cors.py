"""Pages of other origins: shut out unless a setting names them, and never with a browser's session."""

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.http.cors import SENT
from service.settings import ServiceSettings

FRIEND = "https://friend.example"
ASKS = {"Origin": FRIEND, "Access-Control-Request-Method": "POST"}


@pytest.fixture
def settings(settings: ServiceSettings, friends: tuple[str, ...]) -> ServiceSettings:
    return settings.model_copy(update={"cors_origins": friends, "max_json_bytes": 2000})


@pytest.fixture
def friends() -> tuple[str, ...]:
    return (FRIEND, "http://localhost:3000")


@pytest.fixture
def stranger(app, client) -> TestClient:
    """Somebody without a key. The app runs as long as `client` does."""
    return TestClient(app)


def allowed(answer) -> str | None:
    assert "access-control-allow-credentials" not in answer.headers
    return answer.headers.get("access-control-allow-origin")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/learners/birds/predictions"),
        ("PUT", "/v1/learners/birds/aliases/live"),
        ("PATCH", "/v1/learners/birds"),
        ("DELETE", "/v1/keys/x"),
        ("GET", "/v1/tasks/x/events"),
    ],
)
def test_a_preflight_needs_no_key(stranger, method, path):
    headers = {
        "Origin": FRIEND,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": ", ".join(SENT).lower(),
    }
    answer = stranger.options(path, headers=headers)
    assert answer.status_code == 200
    assert allowed(answer) == FRIEND
    assert method in answer.headers["access-control-allow-methods"]
    listed = answer.headers["access-control-allow-headers"].lower()
    assert {"authorization", "content-type", "idempotency-key", "if-match"} <= set(
        listed.split(", ")
    )
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://friend.example",
        f"{FRIEND}:8443",
        f"{FRIEND}.evil.example",
        "https://sub.friend.example",
        "null",
        "",
    ],
)
def test_others_are_not_told_that_they_may(client, stranger, origin):
    assert allowed(stranger.options("/v1/learners", headers={**ASKS, "Origin": origin})) is None
    assert allowed(client.get("/v1/learners", headers={"Origin": origin})) is None


def test_refusals_can_be_read_too(client, stranger):
    origin = {"Origin": FRIEND}
    for answer, status in (
        (stranger.get("/v1/learners", headers=origin), 401),
        (client.get("/v1/learners/none", headers=origin), 404),
        (client.post("/v1/learners", content=b"x" * 3000, headers=origin), 413),
        (client.get("/v1/learners", headers={**origin, "Host": "bad host"}), 400),
        (client.post("/v1/learners", json={}, headers=origin), 422),
    ):
        assert answer.status_code == status
        assert allowed(answer) == FRIEND
        shown = answer.headers["access-control-expose-headers"].split(", ")
        assert {"X-Request-Id", "Location", "Link", "Retry-After", "RateLimit"} <= set(shown)


def test_the_dashboard_and_its_session_stay_shut(client, stranger):
    assert allowed(client.get("/admin", headers={"Origin": FRIEND, "Accept": "text/html"})) is None
    answer = stranger.options("/admin/login", headers=ASKS)
    assert allowed(answer) is None
    assert allowed(stranger.get("/admin/login", headers={"Origin": FRIEND})) is None


@pytest.mark.parametrize("friends", [("*",)])
def test_a_star_lets_any_page_in_without_a_session(client, stranger):
    for asked in (
        client.get("/v1/learners", headers={"Origin": "https://any.example"}),
        stranger.options("/v1/learners", headers={**ASKS, "Origin": "https://any.example"}),
    ):
        assert asked.status_code == 200
        assert allowed(asked) == "*"


def test_without_the_setting_nothing_is_different(session_factory, blobs, tmp_path):
    app = create_app(ServiceSettings(data_dir=tmp_path, device="cpu"), session_factory, blobs)
    assert len(app.user_middleware) == 1
    with TestClient(app) as stranger:
        answer = stranger.options("/v1/learners", headers=ASKS)
        assert answer.status_code == 401
        assert allowed(answer) is None
