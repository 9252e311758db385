"""Unlearning in the browser: what goes is said beforehand, and nothing goes without the learner's name."""

import pytest

from registry import tasks
from tests.service.api import version_of
from tests.waiting import wait_until

OWN = {"Sec-Fetch-Site": "same-origin"}
PAGE = "/admin/learners/birds/unlearn"


@pytest.fixture
def unlearns(client, taught, browser, session, learn):
    """Return a function that unlearns by the form, and learns the task that it leaves."""

    def run(**form):
        fields = {"head": "1", "learner": "birds", **form}
        answer = browser.post(PAGE, data=fields, headers=OWN)
        assert answer.headers["location"] == "/admin/learners/birds?done=unlearning"
        session.rollback()
        asked = tasks.list_tasks(session).items[0].id
        session.rollback()
        learn(asked)
        wait_until(lambda: version_of(client, "birds") == 2)

    return run


def test_it_offers_tasks_by_their_classes(browser, three):
    html = browser.get(PAGE).text
    assert "heron and egret" in html
    assert 'name="class" value="stork"' in html
    assert "What goes for good" not in html


def test_it_says_beforehand_what_goes_and_what_stays(browser, three):
    html = browser.get(f"{PAGE}?task=1").text
    assert "Unlearn task 1?" in html
    assert "<b>heron and egret</b>" in html
    assert "18 stored images" in html
    assert "versions 1, 2 and 3 are erased" in html
    assert "2 classes: stork and crane" in html
    assert "<b>birds</b> to unlearn it" in html


@pytest.mark.parametrize("learner", ["", "bird", "Birds"])
def test_without_the_name_nothing_goes(browser, session, three, learner):
    form = {"class": "heron", "head": "3", "learner": learner}
    answer = browser.post(PAGE, data=form, headers=OWN)
    assert answer.headers["location"] == f"{PAGE}?class=heron&problem=not-named"
    assert "nothing was done" in browser.get(answer.headers["location"]).text
    session.rollback()
    assert {task.mode for task in tasks.list_tasks(session).items} == {"new_classes"}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("class=dodo", "does not know some of it any more"),
        ("task=1&task=2&task=3", "That is everything that it knows"),
        ("problem=stale-head", "The learner has learned something else meanwhile"),
    ],
)
def test_what_cannot_go_is_said(browser, three, asked, said):
    html = browser.get(f"{PAGE}?{asked}").text
    assert said in html
    assert "Unlearn it for good" not in html


def test_who_has_learned_something_else_meanwhile_is_told(browser, three):
    form = {"class": "heron", "head": "2", "learner": "birds"}
    answer = browser.post(PAGE, data=form, headers=OWN)
    assert answer.headers["location"] == f"{PAGE}?class=heron&problem=stale-head"


def test_a_strategy_that_cannot_says_so(browser, client):
    body = {"name": "weights", "strategy": "finetune", "backbone": "tiny"}
    assert client.post("/v1/learners", json=body).status_code == 201
    assert "Nothing to unlearn" in browser.get("/admin/learners/weights/unlearn").text


def test_afterwards_the_pages_tell_what_has_gone(unlearns, browser, client):
    unlearns(**{"class": "egret"})
    assert client.get("/v1/learners/birds/versions/1").json()["erased_at"]
    html = browser.get("/admin/learners/birds").text
    assert "unlearned</span> egret" in html
    assert "class egret, by admin; done" in html
    assert "Deleted: 6 stored images" in html
    assert "Erased: version 1." in html
    assert "carries a trace" in html


def test_a_reader_is_refused_and_sees_no_button(visitor, log_in, role_keys, three):
    log_in(role_keys["predictor"])
    assert visitor.get(PAGE).status_code == 403
    assert "/unlearn" not in visitor.get("/admin/learners/birds").text
    assert "/unlearn" not in visitor.get("/admin/learners/birds/classes/heron").text


def test_a_class_leads_there(browser, three):
    assert f'href="{PAGE}?class=heron"' in browser.get("/admin/learners/birds/classes/heron").text
