"""Whether pictures look different: over HTTP, on the page, and among what is wrong."""

from datetime import UTC, datetime, timedelta

import pytest

from registry.ids import new_id
from registry.predictions import NewPrediction, add_predictions
from tests.factories import make_learner, make_task, publish_task
from tests.waiting import wait_until

URL = "/v1/learners/birds/drift"


@pytest.fixture
def asked(session, blobs):
    """A learner that was asked for four weeks, of which in the last three days half of the pictures are unknown."""
    learner = make_learner(session)
    publish_task(session, make_task(session, blobs))
    now = datetime.now(UTC)
    rows = []
    for days in range(1, 29):
        for i in range(30):
            is_known = days > 3 or i % 2 == 0
            label, novelty = ("heron", "egret")[i % 3 == 0], 0.3 + i / 100
            result = {"label": label, "known": is_known, "novelty": novelty, "score": 0.8}
            at = now - timedelta(days=days)
            rows.append(
                NewPrediction(new_id("prd"), learner.id, 1, [result], [label], not is_known, at)
            )
    add_predictions(session, rows)
    session.commit()
    return learner


def test_the_days_and_what_has_changed_are_told(client, asked):
    drift = client.get(URL).json()
    assert [day["n"] for day in drift["days"]] == [30] * 28 + [0]
    assert drift["days"][-2]["unknown"] == 0.5
    assert drift["reference"]["unknown"] == 0.0
    change = next(change for change in drift["changes"] if change["kind"] == "unknown")
    assert (change["before"], change["days"]) == (0.0, 3)
    assert "50% are unknown instead of 0%" in change["sentence"]


def test_classes_have_the_names_of_now(client, asked):
    assert client.get(URL).json()["days"][0]["classes"].keys() == {"heron", "egret"}
    path = "/v1/learners/birds/classes/heron"
    assert client.patch(path, json={"name": "Grey heron"}).status_code == 200
    assert client.get(URL).json()["days"][0]["classes"].keys() == {"Grey heron", "egret"}


def test_it_is_among_what_is_wrong_and_has_a_page(client, asked):
    def found():
        findings = client.get("/v1/health").json()["findings"]
        return [one for one in findings if one["code"] == "pictures-different"]

    [finding] = wait_until(found)
    assert finding["learner"] == "birds"
    assert "birds: Pictures look different since" in finding["sentence"]
    page = client.get("/admin/learners/birds/drift", headers={"Accept": "text/html"}).text
    assert "50% are unknown instead of 0%" in page
    assert page.count('<svg class="drift-chart"') == 3


def test_of_a_learner_that_nobody_asked_nothing_is_told(client, session):
    make_learner(session)
    session.commit()
    drift = client.get(URL).json()
    assert (drift["reference"], drift["changes"]) == (None, [])
    assert {day["n"] for day in drift["days"]} == {0}
    page = client.get("/admin/learners/birds/drift", headers={"Accept": "text/html"}).text
    assert "Nothing was asked yet" in page
    assert client.get("/v1/learners/nobody/drift").json()["code"] == "learner-not-found"
