"""Below a path of a host: every address in answers carries the prefix, whether the proxy takes it away or not."""

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.http.security import COOKIE
from service.settings import ServiceSettings
from tests.factories import make_task
from tests.service.api import image_files

ROOT = "/some/where"
PAGE = {"Accept": "text/html"}


@pytest.fixture
def settings(settings: ServiceSettings) -> ServiceSettings:
    return settings.model_copy(update={"root_path": ROOT})


@pytest.fixture(params=["", ROOT], ids=["stripped", "passed on"])
def prefix(request) -> str:
    """What the proxy leaves of the prefix."""
    return request.param


def test_headers_of_the_api_carry_it(client, prefix):
    for name in ("a", "b"):
        body = {"name": name, "strategy": "simplecil", "backbone": "tiny"}
        answer = client.post(f"{prefix}/v1/learners", json=body)
        assert answer.status_code == 201
        assert answer.headers["Location"] == f"{ROOT}/v1/learners/{name}"
    answer = client.post(f"{prefix}/v1/learners/a/tasks", files=image_files(("heron", "egret")))
    assert answer.headers["Location"] == f"{ROOT}/v1/tasks/{answer.json()['id']}"
    answer = client.get(f"{prefix}/v1/learners?limit=1")
    assert answer.headers["Link"].startswith(f"<{ROOT}/v1/learners?limit=1&cursor=")
    # The prefix in the link is followed as a client would.
    following = answer.headers["Link"][1:].split(">")[0]
    assert [item["name"] for item in client.get(following).json()["items"]] != []


def test_problems_and_the_schema_carry_it(client, prefix):
    answer = client.get(f"{prefix}/v1/learners/none")
    assert answer.json()["type"] == f"{ROOT}/problems/learner-not-found"
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert client.get(answer.json()["type"]).status_code == 200
    assert client.get(f"{prefix}/openapi.json").json()["servers"] == [{"url": ROOT}]
    assert f'data-path="{ROOT}/v1/learners"' in client.get(f"{prefix}/docs").text
    assert client.head(f"{prefix}/docs").status_code in (200, 405)


def test_an_idempotent_answer_carries_it_once(client, prefix):
    body = {"name": "a", "strategy": "simplecil", "backbone": "tiny"}
    headers = {"Idempotency-Key": "once"}
    for _ in range(2):
        answer = client.post(f"{prefix}/v1/learners", json=body, headers=headers)
        assert answer.headers["Location"] == f"{ROOT}/v1/learners/a"
    assert answer.headers["Idempotent-Replayed"] == "true"


def test_the_way_into_the_dashboard_and_back_carries_it(
    app, client, prefix, role_keys, session, blobs
):
    birds = client.post(
        "/v1/learners", json={"name": "birds", "strategy": "simplecil", "backbone": "tiny"}
    ).json()["name"]
    task = make_task(session, blobs, birds, classes=("crane",))
    session.commit()
    visitor = TestClient(app, headers=PAGE, follow_redirects=False)
    assert visitor.get(f"{prefix}/").headers["Location"] == f"{ROOT}/admin"
    answer = visitor.get(f"{prefix}/admin/tasks?cursor=")
    assert answer.headers["Location"].startswith(f"{ROOT}/admin/login?next=/admin/tasks")
    answer = visitor.post(
        f"{prefix}/admin/login",
        data={"key": role_keys["admin"], "next": "/admin/tasks"},
        headers={"Sec-Fetch-Site": "same-origin"},
    )
    assert answer.headers["Location"] == f"{ROOT}/admin/tasks"
    assert f"Path={ROOT};" in answer.headers["Set-Cookie"]
    session_cookie = {
        "Cookie": f"{COOKIE}={answer.cookies[COOKIE] if answer.cookies else _cookie(answer)}"
    }
    page = visitor.get(f"{prefix}/admin/tasks", headers=session_cookie).text
    assert f'action="{ROOT}/admin/tasks/{task.id}/cancel"' in page
    assert '="/admin' not in page
    answer = visitor.post(
        f"{prefix}/admin/tasks/{task.id}/cancel",
        headers={
            **session_cookie,
            "Sec-Fetch-Site": "same-origin",
            "Referer": f"http://testserver{ROOT}/admin/learners/birds?versions=x",
        },
    )
    assert answer.headers["Location"].startswith(f"{ROOT}/admin/learners/birds")
    answer = visitor.post(
        f"{prefix}/admin/logout", headers={**session_cookie, "Sec-Fetch-Site": "same-origin"}
    )
    assert f"Path={ROOT};" in answer.headers["Set-Cookie"]


def _cookie(answer) -> str:
    return answer.headers["Set-Cookie"].split(";")[0].split("=", 1)[1]


@pytest.mark.parametrize(
    "path",
    [
        f"{ROOT}x/v1/learners",
        f"{ROOT}{ROOT}/v1/learners",
        f"/x{ROOT}/v1/learners",
        f"/{ROOT}/v1/learners",
    ],
)
def test_only_the_whole_prefix_once_is_taken_away(client, path):
    assert client.get(f"http://testserver{path}").status_code == 404


def test_what_is_public_and_what_needs_a_key_stays_so(app, client, prefix):
    stranger = TestClient(app)
    assert stranger.get(f"{prefix}/livez").status_code == 200
    assert stranger.get(f"{prefix}/v1/learners").status_code == 401
    assert stranger.get(f"{prefix}/admin/static/../../v1/learners").status_code == 401
    answer = client.post(
        f"{prefix}/admin/tasks/x/cancel", headers={"Origin": "http://evil.example"}
    )
    assert answer.status_code in (403, 404, 422)


def test_what_users_wrote_is_not_taken_for_an_address(client, app, role_keys, session, blobs):
    client.post("/v1/learners", json={"name": "birds", "strategy": "simplecil", "backbone": "tiny"})
    make_task(session, blobs, "birds", classes=(' href="/admin', "egret"))
    session.commit()
    page = client.get("/admin/learners/birds", headers=PAGE).text
    assert "href=&#34;/admin" in page


def test_without_the_setting_there_is_no_such_layer(session_factory, blobs, tmp_path):
    app = create_app(ServiceSettings(data_dir=tmp_path, device="cpu"), session_factory, blobs)
    assert len(app.user_middleware) == 1
