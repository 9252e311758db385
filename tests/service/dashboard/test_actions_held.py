"""Held tasks in the browser: why, and what to do with them."""

import re

import pytest

from registry import audit, queue, tasks, versions
from tests.factories import hold_unlearning, make_new_version, make_task

OWN = {"Sec-Fetch-Site": "same-origin"}
BACK = {"Referer": "http://testserver/admin/learners/birds", **OWN}


@pytest.fixture
def held(session, blobs, three):
    task = make_task(session, blobs, three, classes=("ibis",))
    claimed = queue.claim(session, task.id, "tests", 30)
    task.findings = [{"code": "labels-doubtful", "detail": "9 of 10 look like <b>herons</b>."}]
    new_version = make_new_version(session, task)
    versions.hold(session, task.id, claimed.token, new_version, "It would forget herons.")
    session.commit()
    return task.id


@pytest.mark.parametrize("path", ["/admin/tasks", "/admin/learners/birds"])
def test_a_held_task_says_why_and_what_it_would_be(browser, held, path):
    html = browser.get(path).text
    assert "It would forget herons." in html
    assert "look like &lt;b&gt;herons&lt;/b&gt;" in html
    told = "95% interval 60 to 98%, of 10 images held out"
    assert f'task 4 <b title="{told}">90.0%</b> of 10' in html
    assert f'action="/admin/tasks/{held}/publish"' in html


def test_what_would_be_erased_is_named_before_it_is_published(browser, session, three):
    task = hold_unlearning(session, three, classes=["stork"])
    session.commit()
    html = browser.get("/admin/learners/birds").text
    form = re.search(
        rf'<details class="confirm">.*?/tasks/{task.id}/publish.*?</details>', html, re.S
    )
    assert "Versions 2, 3 are erased, with its images. There is no way back." in form[0]
    assert "Publish for good" in form[0]
    assert html.count(f"/tasks/{task.id}/publish") == 1


def test_a_learner_without_held_tasks_shows_no_such_panel(browser, three):
    assert "somebody has to decide" not in browser.get("/admin/learners/birds").text


def test_it_is_published_by_its_button(browser, session, held):
    answer = browser.post(f"/admin/tasks/{held}/publish", headers=BACK)
    assert answer.headers["Location"] == "/admin/learners/birds?done=task-published"
    assert "The task is published" in browser.get(answer.headers["Location"]).text
    assert tasks.get_task(session, held).status == "succeeded"
    assert audit.list_audit(session).items[0].action == "task.publish"


def test_it_is_discarded_by_its_button(browser, session, held):
    answer = browser.post(f"/admin/tasks/{held}/cancel", headers=BACK)
    assert answer.status_code == 303
    assert tasks.get_task(session, held).status == "cancelled"
    again = browser.post(f"/admin/tasks/{held}/publish", headers=BACK)
    assert again.headers["Location"].endswith("?problem=task-not-held")


def test_a_reader_may_only_look(visitor, log_in, role_keys, session, held):
    log_in(role_keys["predictor"])
    html = visitor.get("/admin/tasks").text
    assert "It would forget herons." in html
    assert "/publish" not in html
    assert visitor.post(f"/admin/tasks/{held}/publish", headers=OWN).status_code == 403
    assert tasks.get_task(session, held).status == "held"


def test_what_was_held_before_it_was_learned_is_learned_after_all(browser, session, blobs, three):
    task = make_task(session, blobs, three, classes=("ibis",))
    claimed = queue.claim(session, task.id, "tests", 30)
    queue.hold_unlearned(session, task.id, claimed.token, "These look like herons.")
    session.commit()
    assert "Learn it anyway" in browser.get("/admin/tasks").text
    answer = browser.post(f"/admin/tasks/{task.id}/publish", headers=BACK)
    assert answer.headers["Location"] == "/admin/learners/birds?done=task-released"
    session.refresh(task)
    assert task.status == "queued"


def test_findings_that_held_nothing_are_shown_too(browser, session, blobs, three):
    task = make_task(session, blobs, three, classes=("ibis",))
    task.findings = [{"code": "flood", "detail": "Nine of ten images are of one class."}]
    session.commit()
    assert "Nine of ten images are of one class." in browser.get("/admin/tasks").text
