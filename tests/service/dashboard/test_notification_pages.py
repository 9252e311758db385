"""Notifications as pages: what the form makes, what it refuses, and what is shown to whom."""

import re

import pytest

from registry import deliveries, subscriptions
from registry.deliveries import Outcome
from tests.factories import make_learner, make_subscription

OWN = {"Sec-Fetch-Site": "same-origin"}
FORM = {"name": "pond", "target": "https://example.org/TOKEN", "events": ["task.ended"]}


def add(browser, **fields):
    return browser.post("/admin/notifications", data={**FORM, **fields}, headers=OWN)


def test_the_form_makes_the_rule_that_it_says(browser, session):
    make_learner(session, "birds")
    session.commit()
    answer = add(
        browser,
        learner="birds",
        events=["prediction.made", "accuracy.dropped", "unknown.found"],
        labels=" heron, , egret,heron ",
        min_score="12.5",
        max_score="80%",
        known="no",
        disagrees="yes",
        statuses=["held", "failed"],
        min_drop="7",
        min_images="9",
    )
    assert answer.status_code == 201, answer.text
    [one] = subscriptions.list_all(session)
    assert one.rule == {
        "labels": ["heron", "egret"],
        "min_score": 0.125,
        "max_score": 0.8,
        "known": False,
        "disagrees": True,
        "statuses": ["failed", "held"],
        "min_drop": 0.07,
        "min_images": 9,
    }
    assert one.secret in answer.text
    html = browser.get("/admin/notifications").text
    assert one.secret not in html
    assert "TOKEN" not in html  # of an address only the host is shown
    assert "example.org" in html


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": " "}, "what the notification is for"),
        ({"events": []}, "Choose what to be told of"),
        ({"events": ["moon.full"]}, "Choose what to be told of"),
        ({"min_score": "much"}, "from 0 to 100"),
        ({"max_score": "101"}, "from 0 to 100"),
        ({"min_images": "1"}, "from 2 to 500"),
        ({"known": "may"}, "what the form offers"),
        ({"target": "http://127.0.0.1/"}, "FILOPODIA_NOTIFY_ALLOW"),
        ({"target": "nowhere"}, "Give a URL"),
        ({"target": "mqtt:pond"}, "FILOPODIA_MQTT_URL"),
    ],
)
def test_what_makes_no_sense_is_said_and_the_form_kept(browser, session, fields, said):
    answer = add(browser, labels="KEPT", **fields)
    assert answer.status_code == 422
    assert said in re.sub(r"\s+", " ", answer.text)
    assert 'value="KEPT"' in answer.text
    assert subscriptions.list_all(session) == []


def test_what_does_not_arrive_is_told_with_its_reason(browser, session):
    one = make_subscription(session)
    deliveries.add_test(session, one)
    deliveries.settle(
        session, deliveries.claim(session, 60), Outcome(500, 12, "The receiver answered 500.")
    )
    session.commit()
    for path in ("/admin/notifications", f"/admin/notifications/{one.id}"):
        html = browser.get(path).text
        assert "The receiver answered 500." in html
        assert "not arriving" in html


def test_nothing_of_it_is_shown_to_others(visitor, log_in, role_keys, session):
    one = make_subscription(session)
    session.commit()
    log_in(role_keys["trainer"])
    assert "/admin/notifications" not in visitor.get("/admin").text
    for path in ("/admin/notifications", f"/admin/notifications/{one.id}"):
        assert visitor.get(path).status_code == 403
    assert visitor.post("/admin/notifications", data=FORM, headers=OWN).status_code == 403


def test_one_that_is_gone_is_no_page(browser):
    assert browser.get("/admin/notifications/sub_0000000000").status_code == 404
