from fastapi.testclient import TestClient

from service.intake.formats import FORMATS
from tests.waiting import wait_until


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
    app.state.context.engine.stop()
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
