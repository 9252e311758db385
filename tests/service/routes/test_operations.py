import re

import pytest
from fastapi.testclient import TestClient

from registry.errors import DatabaseUnavailableError
from service.intake.formats import FORMATS
from service.problems import PROBLEMS
from service.routes.reference_pages import prose
from tests.service.conftest import wait_until


def test_liveness_and_readiness(client, taught, app):
    assert client.get("/livez").json() == {"status": "alive"}
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["status"], ready.json()["database"]) == (
        200,
        "ready",
        "up",
    )
    assert ready.json()["loaded"] == [{"learner": taught, "version": 1}]
    assert TestClient(app).get("/readyz").json()["loaded"] == []


def test_not_ready_before_the_first_look_and_after_the_engine_ended(app, client):
    wait_until(lambda: client.get("/readyz").status_code == 200)
    app.state.collaborators.engine.stop()
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "starting")


def test_info_shows_the_limits(client, settings):
    info = client.get("/v1/info").json()
    assert info["limits"]["task_images"] == settings.max_task_images
    assert info["limits"]["image_formats"] == list(FORMATS)
    assert info["device"] == "cpu"


def test_metrics_count_by_route_and_never_by_path(client, taught):
    client.get("/v1/learners/" + "x" * 30)
    text = client.get("/metrics").text
    assert 'route="/v1/learners/{name}"' in text
    assert "x" * 30 not in text
    assert f'filopodia_images_predicted_total{{learner="{taught}"}}' in text
    assert "filopodia_versions_loaded 1.0" in text
    assert "filopodia_database_up 1.0" in text


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


def test_strategies_and_backbones_say_what_can_be_chosen(client):
    strategies = {entry["name"]: entry for entry in client.get("/v1/strategies").json()["items"]}
    assert {"artsy", "simplecil", "finetune"} <= strategies.keys()
    assert [name for name in strategies if strategies[name]["keeps_images"]] == ["icarl", "joint"]
    assert strategies["simplecil"]["unlearning"] == "exact"
    artsy = strategies["artsy"]
    assert artsy["config_schema"]["properties"].keys() == artsy["defaults"].keys()
    assert client.get("/v1/backbones").json()["items"][0]["name"] == "bundled"


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


def test_prose_is_escaped():
    assert prose("a <b> & `c < d`\n\n- **x**: y\n- z") == (
        "<p>a &lt;b&gt; &amp; <code>c &lt; d</code></p>\n"
        "<ul>\n<li><strong>x</strong>: y</li>\n<li>z</li>\n</ul>"
    )


def test_prose_holds_no_html_links_or_images():
    text = (
        "<script>x</script> [a](javascript:x) ![b](http://evil/c) <http://evil/d>\n\n<div>e</div>"
    )
    assert set(re.findall(r"<\w+", prose(text))) == {"<p"}
