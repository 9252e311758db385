"""Learners over HTTP."""

import pytest

from registry.errors import DatabaseUnavailableError


def test_metadata_are_replaced_under_their_etag(client, birds):
    first = client.get(f"/v1/learners/{birds}")
    changed = client.patch(
        f"/v1/learners/{birds}",
        json={"metadata": {"owner": "ada"}},
        headers={"If-Match": first.headers["etag"]},
    )
    assert (changed.status_code, changed.json()["metadata"]) == (200, {"owner": "ada"})
    stale = client.patch(
        f"/v1/learners/{birds}", json={"metadata": {}}, headers={"If-Match": first.headers["etag"]}
    )
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition-failed")


def test_learners_are_created_listed_and_deleted(client):
    for name in ("b", "a", "c"):
        body = {"name": name, "strategy": "artsy", "backbone": "tiny", "metadata": {"n": name}}
        answer = client.post("/v1/learners", json=body)
        assert (answer.status_code, answer.headers["location"]) == (201, f"/v1/learners/{name}")
        assert answer.json() == client.get(f"/v1/learners/{name}").json()
    assert client.post("/v1/learners", json=body).json()["code"] == "learner-exists"
    page = client.get("/v1/learners?limit=2").json()
    assert [item["name"] for item in page["items"]] == ["a", "b"]
    rest = client.get(f"/v1/learners?limit=2&cursor={page['next_cursor']}").json()
    assert [item["name"] for item in rest["items"]] == ["c"]
    assert client.delete("/v1/learners/b").status_code == 204
    assert client.delete("/v1/learners/b").status_code == 404


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (DatabaseUnavailableError(), 503, "storage-unavailable"),
        (RuntimeError("SELECT secret FROM /usr/lib"), 500, "internal"),
    ],
)
def test_what_fails_inside_is_a_plain_problem(client, birds, monkeypatch, error, status, code):
    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr("registry.learners.get_learner", fail)
    answer = client.get(f"/v1/learners/{birds}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    assert "SELECT" not in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)
