"""Versions in the browser: what serving another one would change, and moving it."""

import re

import pytest

from registry import audit, learners, tasks, versions
from registry.versions import NewAccuracy
from service.dashboard.version_page import version_page
from tests.factories import make_learner, make_task, publish_task

OWN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def state(session, three):
    """Return a function that tells which version is live, and which is the head."""

    def read():
        session.rollback()
        learner = learners.get_learner(session, three)
        return learners.live_version(session, learner.id), learner.head_version

    return read


def submit(browser, path, **changes):
    """Submit the form on a version's page as it is, but for some changes."""
    html = browser.get(path).text
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', html))
    action = re.search(r'action="(/admin/learners/\w+/live)"', html).group(1)
    return browser.post(action, data=fields | changes, headers=OWN)


def test_the_page_tells_what_would_change(session, three):
    page = version_page(session, three, 1)
    assert (page.live, page.head, page.can_move) == (3, 3, True)
    assert (page.effect.lost, page.effect.regained) == (["stork", "crane"], [])
    assert (page.effect.superseded, page.effect.restored) == ([2, 3], [])
    assert not version_page(session, three, 3).can_move


def test_versions_are_compared_on_the_tasks_of_both(session, browser, three):
    page = version_page(session, three, 2)
    # Tasks 1 and 2: 8 + 10 of 20, against 8 + 9 with the live version.
    both = page.beside_live
    assert (both.n_tasks, both.one.value, both.other.value) == (2, 18 / 20, 17 / 20)
    assert page.accuracy.n == 20
    assert version_page(session, three, 3).beside_live is None
    html = " ".join(browser.get("/admin/learners/birds/versions/2").text.split())
    assert "On the 2 tasks that both were measured on" in html
    assert "too few images to tell which is better" in html


@pytest.mark.parametrize(
    ("rights", "told"),
    [
        ((950, 500), ": 45.0 points more."),
        ((950, 940), ": the difference is within the uncertainty."),
    ],
)
def test_a_difference_is_told_where_it_can_be(session, browser, blobs, rights, told):
    make_learner(session, "owls")
    for n_right in rights:
        measured = [NewAccuracy(1, 1000, n_right, 0, 0, 1.0)]
        publish_task(session, make_task(session, blobs, "owls", mode="extend"), accuracies=measured)
    session.commit()
    html = " ".join(browser.get("/admin/learners/owls/versions/1").text.split())
    assert "On the task that both were measured on" in html
    assert told in html


def test_after_a_rollback_the_page_tells_the_way_forward(session, three):
    learner_id = learners.get_learner(session, three).id
    learners.set_alias(session, learner_id, 1)
    versions.move_head(session, learner_id, 1)
    page = version_page(session, three, 3)
    assert (page.effect.lost, page.effect.regained) == ([], ["stork", "crane"])
    assert (page.effect.superseded, page.effect.restored) == ([], [2, 3])


def test_back_and_forward_with_buttons(browser, state):
    path = "/admin/learners/birds/versions/2"
    answer = submit(browser, path)
    assert answer.headers["Location"] == "/admin/learners/birds?done=live-moved"
    assert state() == (2, 3)
    assert "Another version is live now" in browser.get(answer.headers["Location"]).text
    submit(browser, "/admin/learners/birds/versions/3")
    assert state() == (3, 3)


def test_the_head_moves_only_when_asked_to(browser, session, three, state):
    answer = submit(browser, "/admin/learners/birds/versions/1", move_head="true")
    assert answer.headers["Location"].endswith("done=head-moved")
    assert state() == (1, 1)
    statuses = [task.status for task in tasks.list_tasks(session, learner_name=three).items]
    assert statuses == ["superseded", "superseded", "succeeded"]
    [entry] = audit.list_audit(session, action="alias.move").items
    assert entry.details == {
        "before": {"version": 3, "head": 3},
        "after": {"version": 1, "head": 1},
    }


def test_the_page_shows_what_is_live_and_what_is_the_head(browser, state):
    submit(browser, "/admin/learners/birds/versions/2")
    html = browser.get("/admin/learners/birds").text
    rows = re.findall(r"<tr><td class=\"num\"><a.*?</tr>", html, re.DOTALL)
    marks = [re.findall(r"pill-(\w+)", row) for row in rows]
    assert marks == [["head"], ["live"], []]


def test_what_somebody_else_moved_meanwhile_stays(browser, state):
    answer = submit(browser, "/admin/learners/birds/versions/1", expected="2")
    assert answer.headers["Location"].endswith("?problem=alias-moved")
    assert "Somebody else has moved it" in browser.get(answer.headers["Location"]).text
    assert state() == (3, 3)


def test_the_head_stays_while_a_task_waits(browser, session, blobs, state):
    make_task(session, blobs, "birds", classes=("ibis",))
    session.commit()
    assert (
        "a task of this learner waits or runs"
        in browser.get("/admin/learners/birds/versions/1").text
    )
    answer = submit(browser, "/admin/learners/birds/versions/1", move_head="true")
    assert answer.headers["Location"].endswith("?problem=learner-busy")
    assert state() == (3, 3)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"version": "9", "expected": "3"}, 404),
        ({"version": "0", "expected": "3"}, 422),
        ({"version": "x", "expected": "3"}, 422),
        ({"version": "1"}, 422),
    ],
)
def test_a_form_that_makes_no_sense_changes_nothing(browser, state, fields, status):
    answer = browser.post("/admin/learners/birds/live", data=fields, headers=OWN)
    assert answer.status_code == status
    assert state() == (3, 3)


@pytest.mark.parametrize("role", ["reader", "predictor"])
def test_lower_roles_see_the_effect_and_no_button(visitor, log_in, role_keys, state, role):
    log_in(role_keys[role])
    html = visitor.get("/admin/learners/birds/versions/1").text
    assert "No longer answered: 2 classes" in html
    assert "/live" not in html
    fields = {"version": "1", "expected": "3"}
    answer = visitor.post("/admin/learners/birds/live", data=fields, headers=OWN)
    assert answer.status_code == 403
    assert state() == (3, 3)


def test_an_unknown_version_has_no_page(browser, three):
    assert browser.get("/admin/learners/birds/versions/4").status_code == 404
    assert browser.get("/admin/learners/birds/versions/0").status_code == 404
