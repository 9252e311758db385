"""The reference: it needs nothing from elsewhere, and covers everything."""

from fastapi.testclient import TestClient

from service.problems import PROBLEMS


def test_every_problem_has_its_page(client):
    for code, kind in PROBLEMS.items():
        page = client.get(f"/problems/{code}")
        assert (page.status_code, kind.title in page.text or "&#39;" in page.text) == (200, True)
        assert "default-src 'none'" in page.headers["content-security-policy"]


def test_the_reference_works_offline_and_covers_everything(client):
    page = client.get("/docs")
    assert page.status_code == 200
    assert "http://" not in page.text.replace("http://www.w3.org", "")
    assert "https://" not in page.text
    schema = client.get("/openapi.json").json()
    for path, operations in schema["paths"].items():
        assert path in page.text
        for operation in operations.values():
            assert operation["description"], path
            assert operation["responses"]["default"]["content"].keys() == {
                "application/problem+json"
            }


def test_the_reference_is_a_page_of_the_product(app, client, role_keys):
    browser = TestClient(app, headers={"Accept": "text/html"}, follow_redirects=False)
    led = browser.get("/docs")
    assert (led.status_code, led.headers["location"]) == (303, "/admin/login?next=/docs")
    entered = browser.post(
        "/admin/login",
        data={"key": role_keys["reader"], "next": "/docs"},
        headers={"Sec-Fetch-Site": "same-origin"},
    )
    assert entered.headers["location"] == "/docs"
    page = browser.get("/docs")
    assert '<nav aria-label="Main">' in page.text
    assert '<a href="/docs" aria-current="page">API</a>' in page.text
    assert "<style" not in page.text
    assert 'placeholder="None"' not in page.text
    policy = page.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy


def test_schema_names_every_resource_of_the_contract(client):
    paths = client.get("/openapi.json").json()["paths"]
    learner = "/v1/learners/{name}"
    for path in (
        "/v1/learners", learner, f"{learner}/tasks", f"{learner}/predictions", f"{learner}/accuracy",
        f"{learner}/classes", f"{learner}/versions", f"{learner}/versions/{{number}}",
        f"{learner}/aliases/live", "/v1/tasks", "/v1/tasks/{task_id}", "/v1/tasks/{task_id}/cancel",
        "/v1/tasks/{task_id}/retry", "/v1/tasks/{task_id}/publish", "/v1/tasks/{task_id}/samples",
        "/v1/tasks/{task_id}/events", "/v1/samples/{sample_id}/image", "/v1/predictions/{prediction_id}",
        "/v1/strategies", "/v1/backbones", "/v1/keys", "/v1/info", "/livez", "/readyz", "/metrics",
    ):  # fmt: skip
        assert path in paths
    bodies = paths[f"{learner}/tasks"]["post"]["requestBody"]["content"]
    assert {"multipart/form-data", "application/zip", "application/json"} <= bodies.keys()
