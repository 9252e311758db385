"""The request log names every change, and the key that made it, whether a program asked for it or a page."""

import re

import pytest
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from tests.service.dashboard.routes_of import changing

OWN = {"Sec-Fetch-Site": "same-origin"}


def requests_in(told):
    return [entry for entry in told if entry["event"] == "request"]


def test_every_form_of_the_dashboard_is_logged(app, client, role_keys):
    """Whatever comes of it; trying a picture changes nothing."""
    key_id = role_keys["admin"].split("_")[1]
    visitor = TestClient(app, follow_redirects=False, raise_server_exceptions=False)
    answer = visitor.post("/admin/login", data={"key": role_keys["admin"]}, headers=OWN)
    assert answer.status_code == 303
    paths = sorted(changing(app), key=lambda path: path == "/admin/logout")
    assert len(paths) >= 11
    for template in paths:
        path = re.sub(r"\{\w+\}", "abcdef012345", template)
        with capture_logs() as told:
            answer = visitor.post(path, headers=OWN)
        found = requests_in(told)
        if template.endswith("/try"):
            assert found == []
            continue
        (entry,) = found
        assert (entry["path"], entry["method"]) == (path, "POST")
        assert entry["status"] == answer.status_code
        assert entry["request_id"] == answer.headers["X-Request-Id"]
        assert entry["key"] == key_id


def test_a_login_names_the_key_and_tells_no_secret(app, client, role_keys):
    visitor = TestClient(app, follow_redirects=False)
    created = client.post("/v1/login-links").json()["path"]
    token = created.partition("=")[2]
    for path, form, role in (
        ("/admin/login", {"key": role_keys["trainer"]}, "trainer"),
        ("/admin/enter", {"token": token}, "admin"),
    ):
        visitor.cookies.clear()
        with capture_logs() as told:
            assert visitor.post(path, data=form, headers=OWN).status_code == 303
        (entry,) = requests_in(told)
        assert (entry["path"], entry["key"]) == (path, role_keys[role].split("_")[1])
        assert not {role_keys["trainer"], token} & {str(value) for value in entry.values()}


@pytest.mark.parametrize("path", ["/v1/learners/birds/predictions", "/admin/learners/birds/try"])
def test_predictions_are_not_logged(client, path):
    with capture_logs() as told:
        client.post(path)
    assert requests_in(told) == []


def test_a_header_that_nobody_believes_is_told_once(client):
    with capture_logs() as told:
        for _ in range(3):
            client.get("/livez", headers={"X-Forwarded-For": "203.0.113.1"})
    (entry,) = [entry for entry in told if entry["event"] == "forwarded_header_ignored"]
    assert "FILOPODIA_FORWARDED_ALLOW_IPS=testclient" in entry["reason"]
