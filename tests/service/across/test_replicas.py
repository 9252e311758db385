"""Two services on one database and one data folder: what one has done, the other knows at once."""

import pytest
from fastapi.testclient import TestClient

from registry import keys
from registry.tables import ROLES
from service.app import create_app
from tests.factories import make_image
from tests.service.api import version_of
from tests.waiting import wait_until

PNG = {"Content-Type": "image/png"}


@pytest.fixture
def other(client, settings, session_factory, blobs, role_keys):
    """A client of a second service, with the key of `client`."""
    headers = {"Authorization": f"Bearer {role_keys['admin']}"}
    app = create_app(settings, session_factory, blobs)
    with TestClient(app, headers=headers, raise_server_exceptions=False) as found:
        yield found


@pytest.fixture
def both(client, other, taught):
    """The two, both of which serve what was taught."""
    wait_until(lambda: version_of(other, taught) == 1)
    return client, other


def predict(client, learner, query=""):
    url = f"/v1/learners/{learner}/predictions{query}"
    answer = client.post(url, content=make_image("heron", 50), headers=PNG)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_prediction_is_read_where_it_was_not_made(both, taught):
    here, there = both
    for _ in range(3):
        prediction = predict(here, taught)["id"]
        assert there.get(f"/v1/predictions/{prediction}").status_code == 200


def test_feedback_is_given_where_the_prediction_was_not_made(both, taught):
    here, there = both
    prediction = predict(here, taught)["id"]
    given = {"index": 0, "label": "heron"}
    assert there.post(f"/v1/predictions/{prediction}/feedback", json=given).status_code == 200
    assert there.get(f"/v1/predictions/{prediction}/images/0").status_code == 200


def test_one_that_nobody_stores_is_not_found(both, taught):
    prediction = predict(both[0], taught, "?store=false")["id"]
    for client in both:
        answer = client.get(f"/v1/predictions/{prediction}")
        assert (answer.status_code, answer.json()["code"]) == (404, "prediction-not-found")


@pytest.mark.parametrize("role", ROLES)
def test_a_key_opens_where_it_was_not_made(client, other, role):
    for _ in range(3):
        made = client.post("/v1/keys", json={"name": "camera", "role": role}).json()
        headers = {"Authorization": f"Bearer {made['key']}"}
        assert other.get("/v1/learners", headers=headers).status_code == 200


def test_a_version_is_waited_for_where_it_is_not_served_yet(both, taught, teach):
    _, there = both
    task = teach(("stork", "crane"))
    assert predict(there, taught, f"?min_version={task['version']}")["version"] == task["version"]


def test_a_key_that_another_service_takes_back_is_refused(client, other, session_factory):
    made = client.post("/v1/keys", json={"name": "camera", "role": "reader"}).json()
    headers = {"Authorization": f"Bearer {made['key']}"}
    assert other.get("/v1/learners", headers=headers).status_code == 200
    assert client.delete(f"/v1/keys/{made['id']}").is_success
    wait_until(lambda: other.get("/v1/learners", headers=headers).status_code == 401)
    with session_factory() as session:
        assert made["id"] not in keys.active_keys(session)


def test_an_upload_that_is_repeated_elsewhere_is_done_once(both):
    here, there = both
    body = {"name": "storks", "strategy": "simplecil", "backbone": "tiny"}
    headers = {"Idempotency-Key": "once"}
    first = here.post("/v1/learners", json=body, headers=headers)
    again = there.post("/v1/learners", json=body, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()
