"""Pages say what of a learner waits to be consolidated, why, and how it went."""

from dataclasses import replace

import pytest

from registry import consolidations, learners, queue, versions
from registry.schedule import Schedule
from tests.factories import learn_at_once, make_consolidated, make_learner

OWN = {"Sec-Fetch-Site": "same-origin"}
PAGE = "/admin/learners/birds"
BY_HAND = Schedule.parse("by_hand")
DECLINED = {
    "adopted": False,
    "reason": "It does not help enough.",
    "details": {"gain": -0.02, "standard_error": 0.03},
}


@pytest.fixture
def learned(session_factory, blobs):
    with session_factory.begin() as session:
        make_learner(session, strategy="artsy")
        learn_at_once(session, blobs, ["heron", "egret"], schedule=BY_HAND)


@pytest.fixture
def attempt(session_factory, learned):
    """Id and token of a consolidation that runs."""
    with session_factory.begin() as session:
        task = consolidations.request(session, "birds", schedule=BY_HAND)
    with session_factory.begin() as session:
        claimed = queue.claim(session, task.id, "tests", 30)
    return claimed.id, claimed.token


def test_it_says_what_waits_and_lets_it_be_asked_for(browser, learned):
    page = browser.get(PAGE).text
    assert "Task 1 answers already." in page
    assert "when you ask for a consolidation" in page
    assert "pill-learned" in page
    answer = browser.post(f"{PAGE}/consolidate", headers=OWN)
    assert answer.headers["Location"] == f"{PAGE}?done=consolidation-asked"
    page = browser.get(answer.headers["Location"]).text
    assert "as soon as no task of the learner waits" in page
    assert "waits for a free worker" in page
    [moving] = browser.get("/admin/tasks.json?learner=birds").json()["tasks"]
    assert (moving["status"], moving["note"]) == ("queued", "waits for a free worker")
    assert moving["id"] in page
    assert moving["id"] in browser.get("/admin/tasks").text


def test_one_that_runs_moves_and_can_be_cancelled_but_not_asked_for(
    browser, attempt, session_factory
):
    task_id, token = attempt
    progress = {
        "phase": "training",
        "fraction": 0.4,
        "epoch": 1,
        "epochs": 2,
        "eta_seconds": 12.0,
    }
    with session_factory.begin() as session:
        queue.update_progress(session, task_id, token, progress)
    page = browser.get(PAGE).text
    assert "40%, training, 12 s left" in page
    assert 'value="0.4"' in page
    assert f"/admin/tasks/{task_id}/cancel" in page
    assert f"{PAGE}/consolidate" not in page
    [moving] = browser.get("/admin/tasks.json").json()["tasks"]
    assert (moving["phase"], moving["fraction"]) == ("training", 0.4)


def test_one_that_was_declined_says_why(browser, attempt, session_factory):
    with session_factory.begin() as session:
        queue.decline(session, *attempt, DECLINED)
    page = browser.get(PAGE).text
    assert "declined: it does not help enough (gain -0.020 \u00b1 0.030)" in page
    assert "pill-declined" in page
    assert f"{PAGE}/consolidate" in page
    assert browser.get("/admin/tasks.json").json()["tasks"] == []


def test_its_version_says_that_a_consolidation_made_it(browser, attempt, session_factory):
    assert "had not shaped its features yet" in browser.get(f"{PAGE}/versions/1").text
    with session_factory.begin() as session:
        task = consolidations.pending(session, learners.get_learner(session, "birds").id)
        metrics = {"consolidation": {"reason": "it helps"}}
        made = make_consolidated(session, task, metrics=metrics)
        versions.publish(session, *attempt, made)
    version = browser.get(f"{PAGE}/versions/2").text
    assert "pill-consolidated" in version
    assert "Consolidation</dt><dd>1" in version
    assert "The images of its tasks have shaped its features: it helps." in version
    page = browser.get(PAGE).text
    assert "Nothing waits to be consolidated." in page
    assert f"{PAGE}/consolidate" not in page


def test_readers_and_those_whose_operator_wants_none_are_not_offered_it(
    browser, learned, app, settings, log_in, role_keys, visitor
):
    assert f"{PAGE}/consolidate" in browser.get(PAGE).text
    never = settings.model_copy(update={"consolidate": "never"})
    app.state.context = replace(app.state.context, settings=never)
    assert f"{PAGE}/consolidate" not in browser.get(PAGE).text
    refused = browser.post(f"{PAGE}/consolidate", headers=OWN).headers["Location"]
    assert "its operator has set that" in browser.get(refused).text


def test_a_learner_that_trains_as_it_learns_says_nothing(browser, session_factory, blobs):
    with session_factory.begin() as session:
        make_learner(session)
    assert "onsolidat" not in browser.get(PAGE).text
