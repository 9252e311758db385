"""The page of a learner's days, without a screen: what it says while nothing is stored, and of a change."""

import html
import re
from datetime import UTC, datetime, timedelta

import pytest

from registry import drift
from registry.ids import new_id
from registry.predictions import NewPrediction, add_predictions
from tests.factories import make_learner, make_task, publish_task
from tests.waiting import wait_until

PAGE = "/admin/learners/birds/drift"


@pytest.fixture
def learner(session, blobs):
    learner = make_learner(session)
    publish_task(session, make_task(session, blobs))
    session.commit()
    return learner


def ask(session, learner, ago, n, n_unknown):
    """Store what was asked so many days ago, at noon."""
    at = datetime.now(UTC).replace(hour=12) - timedelta(days=ago)
    rows = []
    for i in range(n):
        known = i >= n_unknown
        label = ("heron", "egret")[i % 2]
        novelty = (i % 20) / 20 if known else 0.99
        result = {"label": label, "score": 0.9, "novelty": novelty, "known": known}
        rows.append(NewPrediction(new_id("prd"), learner.id, 1, [result], [label], not known, at))
    add_predictions(session, rows)


def text_of(answer):
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", answer.text)))


def test_before_anything_is_asked_the_page_says_so(browser, learner):
    assert "Nothing was asked yet" in text_of(browser.get(PAGE))


def test_without_a_change_it_says_so(browser, session, learner):
    for ago in range(1, drift.SHOWN_DAYS):
        ask(session, learner, ago, 20, 1)
    session.commit()
    shown = text_of(browser.get(PAGE))
    assert "Nothing is different by more than chance explains." in shown
    assert "Looks like no known class: 5% to 5% on the last days, 5% in the days before." in shown


def test_a_change_is_on_the_page_in_the_api_and_among_what_is_wrong(
    browser, client, session, learner
):
    for ago in range(1, drift.SHOWN_DAYS):
        ask(session, learner, ago, 50, 20 if ago <= 3 else 2)
    session.commit()
    read = client.get("/v1/learners/birds/drift").json()
    change = next(change for change in read["changes"] if change["kind"] == "unknown")
    assert (change["days"], change["n_now"], change["before"], change["now"]) == (3, 150, 0.04, 0.4)
    assert "40% are unknown instead of 4% (150 requests now," in change["sentence"]
    assert len(read["days"]) == drift.SHOWN_DAYS + 1
    shown = browser.get(PAGE)
    assert change["sentence"] in text_of(shown)
    assert shown.text.count("is-late") == 3 * 7

    def told():
        found = client.get("/v1/health").json()["findings"]
        return [each for each in found if each["code"] == "pictures-different"]

    wait_until(told)
    assert told()[0]["learner"] == "birds"
    assert "pictures look different since" in told()[0]["sentence"].lower()
    assert PAGE in browser.get("/admin").text
