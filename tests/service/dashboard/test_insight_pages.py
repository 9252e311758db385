"""Pages that tell which images hurt, without a screen: what they say, to whom, and what their forms do."""

import html
import re

import pytest

from registry import tasks
from tests.factories import make_image, make_learner
from tests.service.api import image_files, version_of
from tests.service.dashboard.published import publish_task
from tests.waiting import wait_until

OWN = {"Sec-Fetch-Site": "same-origin"}
PAGE = "/admin/learners/birds/classes/heron"
ALL = "/admin/learners/birds/suspects"


@pytest.fixture
def stray(client, learn):
    """The id of an egret that was taught as a heron."""
    client.post("/v1/learners", json={"name": "birds", "strategy": "artsy", "backbone": "tiny"})
    copy = ("images", ("heron/copy.png", make_image("heron", 0, size=65), "image/png"))
    wrong = ("images", ("heron/wrong.png", make_image("egret", 77), "image/png"))
    files = [*image_files(("heron", "egret"), 8), wrong, copy]
    task = client.post("/v1/learners/birds/tasks", files=files)
    learn(task.json()["id"])
    wait_until(lambda: version_of(client, "birds") == 1)
    wait_until(lambda: client.get("/v1/learners/birds/insights").json()["ready"])
    [suspect] = client.get("/v1/learners/birds/insights").json()["suspects"]
    return suspect["sample"]


def text_of(answer):
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", answer.text)))


def test_the_page_of_a_class_tells_of_each_kind(browser, stray):
    shown = browser.get(PAGE)
    text = text_of(shown)
    assert stray in shown.text
    assert "looks like egret" in text
    assert "Move to egret" in text
    for kind in ("Suspected wrong labels", "Look-alikes", "Near-duplicates", "Pull others wrong"):
        assert kind in text
    assert "accuracy when learned" in text
    assert "No label of this class looks wrong." in text_of(
        browser.get(PAGE.replace("heron", "egret"))
    )


def test_one_press_moves_the_image(browser, stray, session):
    shown = browser.get(ALL)
    assert f'action="{PAGE}"' in shown.text
    form = {"image": stray, "to": "egret", "action": "move"}
    answer = browser.post(PAGE, data=form, headers=OWN)
    assert answer.status_code == 303
    [task] = tasks.list_tasks(session, mode="correct").items
    assert task.options["changes"] == [[stray, "egret"]]


def test_a_reader_sees_it_and_is_offered_nothing(visitor, log_in, role_keys, stray):
    log_in(role_keys["reader"])
    for address in (PAGE, ALL):
        text = text_of(visitor.get(address))
        assert "looks like egret" in text
        assert "Move to" not in text
        assert "Remove" not in text.replace("Removed", "")


def test_who_has_nothing_to_show_says_why(browser, client, session, blobs):
    make_learner(session, "damaged", strategy="artsy")
    publish_task(session, blobs, "damaged", ("heron", "egret"), [0.9])
    session.commit()
    damaged = "A file of the newest version is missing"
    wait_until(lambda: damaged in text_of(browser.get("/admin/learners/damaged/suspects")))
    client.post("/v1/learners", json={"name": "new", "backbone": "tiny"})
    assert "Nothing is learned yet" in text_of(browser.get("/admin/learners/new/suspects"))
    client.post("/v1/learners", json={"name": "own", "strategy": "ranpac", "backbone": "tiny"})
    assert "strategy cannot say" in text_of(browser.get("/admin/learners/own/suspects"))
