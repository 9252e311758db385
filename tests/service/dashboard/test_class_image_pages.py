"""The page of a class, without a screen: what it shows, to whom, and what its forms do."""

from urllib.parse import quote

import pytest

from registry import audit, tasks
from registry.samples import list_samples
from tests.factories import make_learner
from tests.service.dashboard.published import publish_task

OWN = {"Sec-Fetch-Site": "same-origin"}
ODD = 'a/../b? "&" <i>'
PAGE = "/admin/learners/birds/classes/heron"


@pytest.fixture
def herons(session, blobs):
    """The ids of the images of herons of a learner that knows egrets too."""
    make_learner(session, "birds", strategy="artsy")
    task = publish_task(session, blobs, "birds", ("heron", "egret", ODD), [0.9], n_train=3)
    session.commit()
    return [row.id for row in list_samples(session, task.id, label="heron").items]


def post(browser, path=PAGE, **form):
    return browser.post(path, data=form, headers=OWN)


def newest(session):
    session.rollback()
    return tasks.list_tasks(session, mode="correct").items[0]


def test_images_are_moved_and_the_page_says_so(browser, herons, session):
    shown = browser.get(PAGE).text
    assert all(each in shown for each in herons)
    assert 'value="egret"' in shown
    answer = post(browser, action="move", to=" egret ", image=herons[:2])
    task = newest(session)
    assert answer.headers["location"] == f"{PAGE}?show=all&page=1&task={task.id}"
    assert task.options["changes"] == [[each, "egret"] for each in herons[:2]]
    waiting = browser.get(answer.headers["location"]).text
    assert "Moving 2 images to egret" in waiting
    [entry] = audit.list_audit(session, action="task.correct").items
    assert entry.details["images"] == 2


def test_images_are_removed(browser, herons, session):
    assert post(browser, action="remove", image=herons[:1], show="train").status_code == 303
    assert newest(session).options["changes"] == [[herons[0], None]]


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ({"action": "move", "to": "egret"}, "Choose at least one image first."),
        ({"action": "move", "to": " ", "image": "heron"}, "Say which class"),
        ({"action": "move", "to": "dodo", "image": "heron"}, "A new class is taught first"),
        ({"action": "move", "to": "heron", "image": "heron"}, "show this already"),
        ({"action": "remove", "image": "all"}, "Leave an image"),
    ],
)
def test_what_cannot_be_done_is_said(browser, herons, session, form, problem):
    chosen = {"heron": herons[:1], "all": herons}.get(form.get("image", ""), [])
    answer = post(browser, **{**form, "image": chosen})
    assert problem in browser.get(answer.headers["location"]).text
    assert tasks.list_tasks(session, mode="correct").items == []


def test_a_label_of_any_characters_has_a_page(browser, herons):
    address = f"/admin/learners/birds/classes/{quote(ODD, safe='')}"
    assert address in browser.get("/admin/learners/birds/classes").text
    shown = browser.get(address)
    assert shown.status_code == 200
    assert f'action="{address}"' in shown.text
    assert "<i>" not in shown.text
    answer = post(browser, address, action="move", to="heron")
    assert answer.headers["location"].startswith(f"{address}?")


def test_a_reader_sees_the_images_and_no_form(visitor, log_in, role_keys, herons):
    log_in(role_keys["reader"])
    shown = visitor.get(PAGE).text
    assert herons[0] in shown
    assert "checkbox" not in shown
    assert "choose.js" not in shown
    assert post(visitor, action="remove", image=herons[:1]).status_code == 403


def test_other_strategies_show_their_images_and_say_that_they_cannot(browser, session, blobs):
    make_learner(session, "birds", strategy="finetune")
    publish_task(session, blobs, "birds", ("heron", "egret"), [0.9])
    session.commit()
    shown = browser.get(PAGE).text
    assert "cannot be moved or removed" in shown
    assert "checkbox" not in shown


def test_what_is_not_there_is_not_found(browser, herons):
    assert browser.get("/admin/learners/birds/classes/dodo").status_code == 404
    assert browser.get("/admin/learners/fish/classes/heron").status_code == 404
    assert "Moving" not in browser.get(f"{PAGE}?task=tsk_{'0' * 26}").text


def test_forms_draw_from_what_a_key_may_post_in_a_day(client, visitor, log_in, herons, session):
    body = {"name": "one a day", "role": "trainer", "quotas": {"tasks_per_day": 1}}
    log_in(client.post("/v1/keys", json=body).json()["key"])
    assert "task=" in post(visitor, action="remove", image=herons[:1]).headers["location"]
    task = newest(session)

    again = post(visitor, action="remove", image=herons[1:2])
    assert again.status_code == 429
    undone = post(visitor, f"/admin/learners/birds/corrections/{task.id}/undo", label="heron")
    assert undone.status_code == 429
    assert post(visitor, "/admin/learners/birds/consolidate").status_code == 429
    assert newest(session).id == task.id
